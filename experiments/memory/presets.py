"""Predicted peaks of the papers' presets on one device, with the settings of their files:

    python experiments/memory/presets.py > experiments/memory/presets.md

Prompts of 13 tiles (InternVL), of 4096 image tokens (Qwen3-VL) or of 2048 tokens of text; every
answer as long as it may be.
"""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from peft import LoraConfig
from shapes import build
from transformers import PreTrainedModel

from gndpo.build import build_advantage, config_folder
from gndpo.memory.prediction import GB, Memory, predict
from gndpo.memory.sizes import Sizes
from gndpo.models.parts import PARTS, linear_layers, train_only
from gndpo.pieces import Portion
from gndpo.reads import dry_run

SHAPES = {
    "OpenGVLab/InternVL3_5-1B-HF": "InternVL3.5-1B",
    "OpenGVLab/InternVL3_5-2B-HF": "InternVL3.5-2B",
    "OpenGVLab/InternVL3_5-4B-HF": "InternVL3.5-4B",
    "OpenGVLab/InternVL3_5-8B-HF": "InternVL3.5-8B",
    "Qwen/Qwen3-VL-2B-Instruct": "Qwen3-VL-2B",
    "Qwen/Qwen3-VL-4B-Instruct": "Qwen3-VL-4B",
    "Qwen/Qwen3-VL-8B-Instruct": "Qwen3-VL-8B",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": "R1-Distill-Qwen-1.5B",
    "Skywork/Skywork-OR1-Math-7B": "Qwen2.5-Math-7B",
}
PROMPTS = {"OpenGVLab": (3600, 13 * 1025), "Qwen": (4352, 4 * 4096), "deepseek-ai": (2048, 0)}
"""Tokens of a prompt, and what the vision tower reads for it, by owner."""
VOCABULARY = 1000
"""Ids for finding out what a strategy reads."""
LORA = "model.adapter={r:16,lora_alpha:32}"
ROWS: Sequence[Sequence[str]] = (
    ("experiment=gndpo/internvl3_5_1b",),
    ("experiment=gndpo/internvl3_5_1b", "rollout.answers=null"),
    ("experiment=gndpo/internvl3_5_2b",),
    ("experiment=gndpo/internvl3_5_2b", "rollout.answers=null"),
    ("experiment=gndpo/internvl3_5_2b", "rollout.max_tokens=8192"),
    ("experiment=gndpo/internvl3_5_4b",),
    ("experiment=gndpo/internvl3_5_4b", LORA, "model.parts=[projector]"),
    ("experiment=vgs/qwen3_vl_2b",),
    ("experiment=vgs/qwen3_vl_2b", LORA),
    ("experiment=vgs/qwen3_vl_4b",),
    ("experiment=vgs/qwen3_vl_4b", LORA),
    ("experiment=tropd/r1_distill_1_5b",),
    ("experiment=tropd/r1_distill_1_5b", LORA),
    ("experiment=quickstart_gpu",),
)


def student(cfg: DictConfig) -> PreTrainedModel:
    model = build(SHAPES[cfg.model.pair.student])
    if cfg.model.adapter is None:
        train_only(model, cfg.model.parts or PARTS)
        return model
    layers = linear_layers(model, "language", without=[model.get_output_embeddings()])
    model.add_adapter(LoraConfig(target_modules=layers, **cfg.model.adapter))
    return model


def sizes(cfg: DictConfig) -> Sizes:
    prompt, patches = PROMPTS[cfg.model.pair.student.partition("/")[0]]
    if cfg.model.image_arguments and not cfg.model.image_arguments.get("crop_to_patches", True):
        prompt, patches = 400, 1025
    reads = dry_run(build_advantage(cfg.advantage), VOCABULARY)
    updates, rollout = cfg.updates, cfg.rollout
    return Sizes(
        prompts=cfg.prompts,
        group=rollout.group,
        prompt_tokens=prompt,
        answer_tokens=rollout.max_tokens,
        written=(rollout.micro, rollout.answers),
        portion=Portion(updates.micro, updates.answers, updates.chunk),
        patches=patches,
        checkpointing=cfg.model.checkpointing,
        optimizer_states=2,
        trained=reads.trained,
        whole=reads.whole,
    )


def predicted(overrides: Sequence[str]) -> Memory:
    cfg = compose("train", overrides=list(overrides))
    return predict(student(cfg), [build(SHAPES[cfg.model.pair.teacher])], sizes(cfg))


def main() -> None:
    print("| `gndpo-train` | stays, GB | peak, GB | in | largest items |")
    print("| --- | ---: | ---: | --- | --- |")
    for overrides in ROWS:
        memory = predicted(overrides)
        items = memory.phases["the update"]
        names = ("student", "masters", "gradients", "optimizer", "teacher")
        stays = sum(items[name] for name in names) / GB
        largest = ", ".join(f"{name} {size / GB:.0f}" for name, size in [*memory.items.items()][:4])
        shown = f"| `{' '.join(overrides)}` | {stays:.0f} | {memory.peak / GB:.0f} |"
        print(f"{shown} {memory.phase} | {largest} |")


if __name__ == "__main__":
    with initialize_config_dir(config_folder(), version_base="1.3"):
        main()
