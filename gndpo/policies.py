"""From a run's configuration to its student, its teachers and their processor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedModel

from gndpo.build import build
from gndpo.engines.teacher_start import check_addresses, serve
from gndpo.errors import UserError
from gndpo.models.load import Pair, load_model, load_processor
from gndpo.models.packing import MASKED
from gndpo.models.pairs import check_ends, check_pixels, check_tokens
from gndpo.models.parts import PARTS, learn, linear_layers, train_only
from gndpo.models.processor import Processor
from gndpo.models.vocabulary import Vocabulary
from gndpo.policy import Policy
from gndpo.teachers import Teachers, make_teachers

EMPTY = OmegaConf.create({})


def load_policies(cfg: DictConfig) -> tuple[Policy, Teachers, Processor]:
    """Student, teachers, processor."""
    student, processor, pair = load_student(cfg)
    return student, load_teachers(cfg, student, processor, pair), processor


def load_student(cfg: DictConfig) -> tuple[Policy, Processor, Pair]:
    """The student as it starts, its processor, and the pair that it is one of."""
    check_model(cfg.model)
    pair: Pair = build(cfg.model.pair, "model.pair")
    start = vars(pair)[cfg.model.trains]
    processor = load_processor(start, **reading(cfg))
    model = load_model(
        start,
        dtype_of(cfg.model.dtype),
        attention=cfg.model.attention,
        remote_code=cfg.model.remote_code,
    )
    if cfg.model.adapter is None:
        train_only(model, PARTS if cfg.model.parts is None else cfg.model.parts)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(cfg.seed)  # of its first matrices
            add_adapter(model, cfg.model.adapter, cfg.model.parts or ())
    if cfg.model.checkpointing:
        model.activation_checkpointing_enable()
    vocabulary = Vocabulary.of(processor, model, cfg.model.eos)
    return Policy(model, vocabulary, cfg.rollout.temperature), processor, pair


def load_teachers(cfg: DictConfig, student: Policy, processor: Processor, pair: Pair) -> Teachers:
    """All write the same ids: those that the student and every teacher have."""

    def load(name: str | Path) -> Policy:
        path = pair.teacher if name == "pair" else name
        check_addresses([path], served=False)
        theirs = load_processor(path, **reading(cfg))
        check_tokens(processor, theirs)
        check_pixels(processor, theirs)
        model = load_model(
            path,
            dtype_of(cfg.model.teacher_dtype),
            attention=cfg.model.attention,
            quantization=cfg.model.teacher_quantization,
            remote_code=cfg.model.remote_code,
        )
        own = Vocabulary.of(theirs, model, cfg.model.eos)
        check_ends(student.vocabulary, own, processor)
        return Policy(model, own, cfg.rollout.temperature)

    section = OmegaConf.to_container(cfg.teacher)
    assert isinstance(section, dict)
    if section.pop("service", None) is not None:
        return serve(cfg, student, load)
    if cfg.model.parts and "adapter_off" in str(cfg.teacher.weights):
        raise UserError(
            f"teacher=adapter_off with model.parts={list(cfg.model.parts)}: these parts would move "
            "with the student; use model.parts=null or teacher=frozen"
        )
    follow = cfg.teacher.follow and build(cfg.teacher.follow, "teacher.follow")
    teachers = make_teachers(student, load, **{**section, "follow": follow})
    share(student, teachers)
    return teachers


def share(student: Policy, teachers: Teachers) -> None:
    """Cut every head to the ids that all can write."""
    policies = (student, *teachers.of.values())
    common = student.vocabulary
    for policy in policies:
        common = common.shared_with(policy.vocabulary)
    for policy in policies:
        policy.write_only(common)


def reading(cfg: DictConfig) -> dict[str, Any]:
    """How both models of the pair read a prompt."""
    model = cfg.model
    return {
        "backend": model.image_backend,
        "remote_code": model.remote_code,
        "system": model.system,
        "chat_template": template_of(model.chat_template),
        "template_arguments": OmegaConf.to_container(model.template_arguments or EMPTY),
        "image_arguments": OmegaConf.to_container(model.image_arguments or EMPTY),
    }


def template_of(given: str | None) -> str | None:
    """A chat template, written out or in a file."""
    if given is None or "{" in given:
        return given
    if not Path(given).is_file():
        raise UserError(
            f"model.chat_template={given}: there is no such file; give a Jinja file, the template "
            "itself, or null for the checkpoint's own"
        )
    return Path(given).read_text()


def dtype_of(name: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def check_model(model: DictConfig) -> None:
    """Keys that exclude each other."""
    if model.checkpointing and model.attention not in MASKED:
        raise UserError(
            f"model.checkpointing=true with model.attention={model.attention}: that attention "
            "takes no mask between the answers of a prompt; use model.attention=sdpa or "
            "checkpointing=false"
        )
    if model.adapter is not None and "language" in (model.parts or ()):
        raise UserError(
            f"model.parts={list(model.parts)} with model.adapter: the language model learns "
            "through its adapter; leave language out, or set model.adapter=null"
        )


def add_adapter(model: PreTrainedModel, settings: DictConfig, parts: Sequence[str]) -> None:
    """Low-rank matrices (LoRA, through peft) beside the language model's linear layers; of the
    other parts those named train as well."""
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise UserError("model.adapter needs peft; type pip install 'gndpo[lora]'") from error
    output: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    given = {str(name): value for name, value in settings.items()}
    layers = linear_layers(model, "language", without=[output])
    values: dict[str, Any] = {"target_modules": layers, **given}
    if values.get("lora_dropout", 0.0):
        raise UserError("model.adapter.lora_dropout must be 0: the importance ratio would not be 1")
    try:
        model.add_adapter(LoraConfig(**values))
    except (TypeError, ValueError) as error:
        raise UserError(f"model.adapter={settings}: {error}") from error
    output = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # peft may have wrapped it
    head = set(output.parameters())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and ("lora_" not in name or parameter in head):
            raise UserError(
                f"model.adapter={settings}: {name} would train; only low-rank matrices before "
                "the language model's head may"
            )
    if parts:
        learn(model, parts)
