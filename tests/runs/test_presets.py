"""The papers' rows: their constants, written here from the papers, and their arms."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from gndpo.build import build, build_advantage, config_folder, resolve
from gndpo.checks import check_values
from gndpo.data.module import PromptData
from gndpo.policies import reading
from gndpo.sweeps import expand_folders
from gndpo.train import module_settings

PAPERS = ("gndpo", "vgs", "tropd")
ONE_UPDATE = {
    "updates.epochs": 1,
    "updates.minibatches": 1,
    "updates.clip_norm": 1.0,
    "schedule.warmup": 0,
    "schedule.decay": "constant",
    "rollout.temperature": 1.0,
    "rollout.top_p": 1.0,
    "rollout.top_k": None,
    "optimizer._target_": "torch.optim.AdamW",
    "model.dtype": "bfloat16",
    "model.teacher_dtype": "bfloat16",
    "model.adapter": None,
    "surrogate.loss.clip_low": 0.2,
    "surrogate.loss.clip_high": 0.2,
    "rollout.writer._target_": "gndpo.writers.student",
}
GNDPO = ONE_UPDATE | {
    "steps": 65,
    "prompts": 32,
    "rollout.group": 16,
    "rollout.max_tokens": 16384,
    "optimizer.lr": 1e-6,
    "optimizer.betas": [0.9, 0.999],
    "optimizer.weight_decay": 0.01,
    "surrogate.loss._target_": "gndpo.surrogates.gspo",
    "surrogate.aggregation": "sequence_mean_token_mean",
    "data.rows.source": "hiyouga/geometry3k",
    "data.max_prompt_tokens": 8192,
    "model.parts": ["projector", "language"],
    "model.checkpointing": True,
    "model.system": None,
    "model.image_arguments": {"crop_to_patches": True, "min_patches": 1, "max_patches": 12},
    "model.pair.teacher": "OpenGVLab/InternVL3_5-8B-HF",
    "reward.weights": {"accuracy": 0.9, "format": 0.1},
    "advantage.clamp": 5.0,
    "advantage.centre": True,
    "advantage.scale": True,
    "advantage.scope": "step",
    "advantage.bessel": True,
    "advantage.eps": 1e-8,
    "advantage.clamp_after": None,
    "eval.every": 5,
    "checkpoint.every": 20,
}
VGS = ONE_UPDATE | {
    "steps": 353,
    "prompts": 128,
    "rollout.group": 4,
    "rollout.max_tokens": 2048,
    "optimizer.lr": 1e-6,
    "optimizer.weight_decay": 0.01,
    "surrogate.aggregation": "sequence_mean_token_mean",
    "data.rows.source": "LMMs-Lab-Turtle/Vision-SR1-47K",
    "data.max_prompt_tokens": 16384,
    "model.parts": None,
    "model.pair.teacher": "Qwen/Qwen3-VL-8B-Instruct",
    "reward.weights": {"accuracy": 1.0, "format": 0.0},
    "reward.parts.accuracy.read": "any",
    "advantage.gamma": 2.0,
    "advantage.lam": 0.01,
    "advantage.gate_quantile": 0.7,
    "advantage.low_quantile": None,
    "advantage.scope": "step",
}
TROPD = ONE_UPDATE | {
    "steps": 200,
    "prompts": 128,
    "rollout.group": 4,
    "rollout.max_tokens": 8192,
    "optimizer.lr": 5e-6,
    "optimizer.weight_decay": 0.1,
    "surrogate.aggregation": "token_mean",
    "data.rows.source": "open-thoughts/OpenThoughts3-1.2M",
    "data.max_prompt_tokens": 2048,
    "advantage.gate": "bernoulli",
    "advantage.k": 64,
    "advantage.scalar": True,
    "advantage.beta": 0.001,
    "checkpoint.every": 50,
}
R1 = TROPD | {"model.pair.student": "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"}
MATH = {"data.rows.keep": {"domain": ["math"]}}
DOMAINS = {"data.rows.keep": {"domain": ["math", "code", "science"]}}
CONSTANTS: dict[str, dict[str, Any]] = {
    "gndpo/internvl3_5_1b": GNDPO | {"model.pair.student": "OpenGVLab/InternVL3_5-1B-HF"},
    "gndpo/internvl3_5_2b": GNDPO | {"model.pair.student": "OpenGVLab/InternVL3_5-2B-HF"},
    "gndpo/internvl3_5_4b": GNDPO | {"model.pair.student": "OpenGVLab/InternVL3_5-4B-HF"},
    "vgs/qwen3_vl_2b": VGS
    | {"model.pair.student": "Qwen/Qwen3-VL-2B-Instruct", "advantage.eta": 0.41},
    "vgs/qwen3_vl_4b": VGS
    | {"model.pair.student": "Qwen/Qwen3-VL-4B-Instruct", "advantage.eta": 0.36},
    "tropd/r1_distill_1_5b": R1 | MATH | {"model.pair.teacher": "Skywork/Skywork-OR1-Math-7B"},
    "tropd/r1_distill_1_5b_multi": R1 | DOMAINS | {"model.pair.teacher": "Skywork/Skywork-OR1-7B"},
    "tropd/qwen3_sft_1_7b": TROPD | DOMAINS | {"model.pair.student": None},
}
PRESETS = [*CONSTANTS, "quickstart_gpu"]
TROPD_ARMS = (
    *("raw_kl", "tropd/fkl_all", "entropy_opd", "tropd/clip", "tropd/mask", "eopd", "reopold"),
    *("aopd", "tropd/release", "tropd/formula"),
)
ARMS = {
    "gndpo/internvl3_5_1b": ("gndpo", "gndpo_ladder/clamp", "gndpo_ladder/none", "grpo"),
    "vgs/qwen3_vl_2b": (
        *("full_kl", "decomposed", "language_steering", "vgs/adaptive", "grpo"),
        *("vgs/grpo_full_kl", "mix"),
    ),
    "vgs/qwen3_vl_4b": ("full_kl", "vgs/decomposed_4b"),
    "tropd/r1_distill_1_5b": TROPD_ARMS,
}
FAMILIES = {
    "internvl3_5_1b": "internvl",
    "internvl3_5_2b": "internvl",
    "internvl3_5_4b": "internvl",
    "qwen3_vl_2b": "qwen3_vl",
    "qwen3_vl_4b": "qwen3_vl",
    "qwen2_5_vl_3b": "qwen2_5_vl",
    "gemma3_4b": "gemma3",
    "llava_7b": "llava",
    "r1_distill_1_5b": "text",
    "r1_distill_1_5b_multi": "text",
    "qwen3_sft_1_7b": "text_qwen3",
}
"""What the model files name -> the twins that stand for it."""


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(config_folder(), version_base="1.3"):
        cfg = compose("train", ["logger=none", *overrides])
    cfg.sweep = "none"  # by default the time of the call
    resolve(cfg)
    return cfg


def options(group: str) -> set[str]:
    return {file.stem for file in Path(config_folder(), group).glob("*.yaml")}


def test_every_file_is_checked_here() -> None:
    given = [f"experiment=glob({paper}/*)" for paper in PAPERS]
    swept = [argument.removeprefix("experiment=") for argument in expand_folders(given)]
    assert sorted(",".join(swept).split(",")) == sorted(CONSTANTS)
    assert options("model") - {"checkpoints", "digits", "digits_contexts"} == FAMILIES.keys()
    arms = {arm for listed in ARMS.values() for arm in listed}
    for paper in ("vgs", "tropd"):
        named = {arm for arm in arms if arm.startswith(f"{paper}/")}
        assert named == {f"{paper}/{name}" for name in options(f"advantage/{paper}")}


@pytest.mark.parametrize("preset", CONSTANTS)
def test_the_constants_are_the_papers(preset: str) -> None:
    cfg = composed(f"experiment={preset}")
    found = {key: OmegaConf.select(cfg, key) for key in CONSTANTS[preset]}
    plain = {
        key: OmegaConf.to_container(x) if OmegaConf.is_config(x) else x for key, x in found.items()
    }
    assert plain == CONSTANTS[preset]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_valid_and_its_parts_can_be_built(preset: str) -> None:
    cfg = composed(f"experiment={preset}")
    check_values(cfg)
    assert build_advantage(cfg.advantage)
    for name in ("surrogate.loss", "rollout.writer", "reward", "model.pair", "callbacks.terminal"):
        assert build(OmegaConf.select(cfg, name), name)
    optimizer = build(cfg.optimizer, "optimizer")([torch.nn.Parameter(torch.ones(1))])
    assert optimizer.param_groups[0]["lr"] == cfg.optimizer.lr
    settings, data = module_settings(cfg), build(cfg.data, "data")
    assert settings.schedule.factor(cfg.steps // 2, cfg.steps) > 0
    assert isinstance(data, PromptData)
    assert isinstance(data.rows, partial)
    assert (data.prompts, data.steps) == (cfg.prompts, cfg.steps)
    assert cfg.trainer.accelerator == "gpu"


@pytest.mark.parametrize("model", FAMILIES)
def test_a_model_is_valid(model: str) -> None:
    cfg = composed(f"model={model}")
    check_values(cfg)
    vgs, text = model.startswith("qwen3_vl"), FAMILIES[model].startswith("text")
    assert cfg.model.parts == (None if vgs or text else ["projector", "language"])
    assert cfg.model.dtype == cfg.model.teacher_dtype == "bfloat16"
    assert ("<reason> </reason>" in str(cfg.model.system)) == vgs
    told = {"qwen3_sft_1_7b": {"enable_thinking": True}}
    assert reading(cfg)["template_arguments"] == told.get(model, {})


@pytest.mark.parametrize("preset", ARMS)
def test_arms_differ_in_the_advantage_alone(preset: str) -> None:
    arms = [dict(composed(f"experiment={preset}", f"advantage={arm}")) for arm in ARMS[preset]]
    own = [arm.pop("advantage") for arm in arms]
    assert all(arm == arms[0] for arm in arms)
    assert all(build_advantage(section) for section in own)
    assert all(x != y for i, x in enumerate(own) for y in own[:i])
    assert composed(f"experiment={preset}").advantage in own


def test_the_arms_of_the_tables_are_what_their_names_say() -> None:
    def knobs(arm: str) -> Any:
        section = OmegaConf.to_container(composed(f"advantage={arm}").advantage)
        assert isinstance(section, dict)
        return {key: x for key, x in section.items() if key[0] != "_"}

    trust = knobs("trust_region")
    tau = math.log(0.3 / 0.7)
    assert knobs("tropd/release") == trust | {"k": 64, "scalar": True}
    assert knobs("tropd/formula") == trust | {"k": 64, "scalar": False}
    mask = trust | {"k": None, "gate": pytest.approx(tau)}
    assert knobs("tropd/mask") == mask | {"floor": None}
    assert knobs("tropd/clip") == mask | {"floor": pytest.approx(tau)}
    steered = knobs("decomposed")
    assert knobs("vgs/decomposed_4b") == steered | {"eta": 0.36}
    assert knobs("vgs/adaptive") == steered | {"low_quantile": 0.4}
    mixed, standard = knobs("mix"), knobs("vgs/grpo_full_kl")
    assert mixed["alpha"] == standard["alpha"] == 0.3
    assert mixed["first"] == standard["first"]
    assert mixed["second"]["eta"] == 1.0  # eq. 22 has none
    assert standard["second"]["_target_"] == "gndpo.advantages.full_kl.full_kl"


def test_guidance_is_a_second_key_of_tropd() -> None:
    for rollout, author in (("prefix_data", "data"), ("prefix", "teacher")):
        plain = composed("experiment=tropd/r1_distill_1_5b")
        guided = composed("experiment=tropd/r1_distill_1_5b", f"rollout={rollout}")
        assert guided.rollout.writer.author._target_ == f"gndpo.writers.{author}"
        guided.rollout.writer = plain.rollout.writer
        assert guided == plain
