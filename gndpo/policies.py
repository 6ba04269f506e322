"""From a run's configuration to its student, its teachers and their processor."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedModel

from gndpo.build import build
from gndpo.checks import check_pair
from gndpo.errors import UserError
from gndpo.models.load import Pair, load_model, load_processor
from gndpo.policy import Policy, Vocabulary
from gndpo.teachers import Teachers, make_teachers

LANGUAGE_LAYERS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"


def load_policies(cfg: DictConfig) -> tuple[Policy, Teachers, Any]:
    """Student, teachers, processor."""
    student, processor, pair = load_student(cfg)
    return student, load_teachers(cfg, student, processor, pair), processor


def load_student(cfg: DictConfig) -> tuple[Policy, Any, Pair]:
    """The student as it starts, its processor, and the pair that it is one of."""
    pair: Pair = build(cfg.model.pair, "model.pair")
    start = vars(pair)[cfg.model.trains]
    processor, model = load_processor(start), load_model(start, dtype_of(cfg))
    if cfg.model.adapter is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(cfg.seed)  # of its first matrices
            add_adapter(model, cfg.model.adapter)
    vocabulary = Vocabulary.of(processor, model)
    return Policy(model, vocabulary, cfg.rollout.temperature), processor, pair


def load_teachers(cfg: DictConfig, student: Policy, processor: Any, pair: Pair) -> Teachers:
    """All share the student's vocabulary: they forbid the same ids."""

    def load(name: str | Path) -> Policy:
        path = pair.teacher if name == "pair" else name
        check_pair(processor, load_processor(path))
        model = load_model(path, dtype_of(cfg))
        return Policy(model, student.vocabulary, cfg.rollout.temperature)

    section = OmegaConf.to_container(cfg.teacher)
    assert isinstance(section, dict)
    follow = cfg.teacher.follow and build(cfg.teacher.follow, "teacher.follow")
    return make_teachers(student, load, **{**section, "follow": follow})


def dtype_of(cfg: DictConfig) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, str(cfg.model.dtype))
    return dtype


def add_adapter(model: PreTrainedModel, settings: DictConfig) -> None:
    """Low-rank matrices (LoRA, through peft) beside the language model's linear layers; nothing
    else trains."""
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise UserError("model.adapter needs peft; type pip install 'gndpo[lora]'") from error
    given = {str(name): value for name, value in settings.items()}
    values: dict[str, Any] = {"target_modules": LANGUAGE_LAYERS, **given}
    if values.get("lora_dropout", 0.0):
        raise UserError("model.adapter.lora_dropout must be 0: the importance ratio would not be 1")
    try:
        model.add_adapter(LoraConfig(**values))
    except (TypeError, ValueError) as error:
        raise UserError(f"model.adapter={settings}: {error}") from error
    output: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    head = set(output.parameters())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and ("lora_" not in name or parameter in head):
            raise UserError(
                f"model.adapter={settings}: {name} would train; only low-rank matrices before "
                "the language model's head may"
            )
