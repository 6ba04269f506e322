"""`gndpo-export run=<run folder> to=<folder>`: a run's student as a Hugging Face folder, which
`from_pretrained` loads without this package; on request, on the Hub."""

import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hydra
import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from omegaconf import DictConfig
from transformers import PreTrainedModel

from gndpo.arguments import quoted
from gndpo.build import config_folder
from gndpo.console import console
from gndpo.errors import UserError
from gndpo.evaluate import find_step, run_config
from gndpo.models.load import IMAGE_ONLY, load, named
from gndpo.policies import load_student, template_of
from gndpo.quiet import quiet
from gndpo.runfolder import RunFolder, write_text

KEPT = (
    *("tokenizer*", "vocab.*", "merges.txt", "added_tokens.json", "special_tokens_map.json"),
    *("sentencepiece*", "spiece.model", "*processor_config.json", "generation_config.json"),
    *("chat_template*", "additional_chat_templates/*", "LICENSE*", "NOTICE*"),
)
"""Files of a starting checkpoint that training does not change."""


@hydra.main(version_base="1.3", config_path=config_folder(), config_name="export")
def app(cfg: DictConfig) -> None:
    quiet()
    check(cfg)
    folder = RunFolder(Path(cfg.run))
    run = run_config(folder)
    check_merge(cfg, run)
    check_empty(to := Path(cfg.to).absolute())
    beside = to.with_name(f".{to.name}")
    shutil.rmtree(beside, ignore_errors=True)
    write(cfg, run, folder, beside)
    beside.rename(to)
    print(f"Written to {cfg.to}")
    if cfg.push is not None:
        print(f"Uploaded to {push(to, cfg.push, private=cfg.private)}")


def check(cfg: DictConfig) -> None:
    """What can be refused before anything is read."""
    for key, example in (("run", "runs/demo/..."), ("to", "exported/...")):
        if cfg[key] is None:
            raise UserError(
                f"{key}=null: type gndpo-export run=<run folder> to=<folder>, for example "
                f"{key}={example}"
            )
    if cfg.checkpoint == "teacher":
        raise UserError(
            "checkpoint=teacher: the teacher is a checkpoint already; use last, base or a step "
            "number"
        )
    if cfg.dtype not in (None, "bfloat16", "float32"):
        raise UserError(f"dtype={cfg.dtype} is unknown; choose bfloat16, float32 or null")
    for key in ("merge", "private"):
        if not isinstance(cfg[key], bool):
            raise UserError(f"{key}={cfg[key]} is unknown; choose true or false")
    if cfg.push is not None:
        try:
            validate_repo_id(cfg.push)
        except ValueError as error:
            raise UserError(f"push={cfg.push} is no name on the Hub; use you/model") from error


def check_merge(cfg: DictConfig, run: DictConfig) -> None:
    """An adapter's folder holds an adapter and nothing else."""
    if not cfg.merge and run.model.adapter is None:
        raise UserError(
            f"merge=false: run={cfg.run} trained no adapter, so there is nothing to keep apart; "
            "leave merge out"
        )
    if not cfg.merge and run.model.parts:
        raise UserError(
            f"merge=false: run={cfg.run} trained model.parts={list(run.model.parts)} besides its "
            "adapter, and an adapter's folder cannot hold them; leave merge out"
        )


def check_empty(to: Path) -> None:
    if to.is_file() or (to.is_dir() and any(to.iterdir())):
        raise UserError(f"to={to} holds something already; choose another folder, or remove it")


def write(cfg: DictConfig, run: DictConfig, folder: RunFolder, to: Path) -> None:
    """Everything: weights and configuration, what the starting checkpoint reads with, a card."""
    run.model.dtype = cfg.dtype or run.model.dtype
    student, _, pair = load_student(run)
    start, which = vars(pair)[run.model.trains], str(cfg.checkpoint)
    model: Any = student.model
    step = 0 if which == "base" else find_step(folder, which, model)
    if run.model.adapter is not None and cfg.merge:
        merge(model)
    elif run.model.adapter is not None:
        model.peft_config["default"].revision = named(start)[1]
    if cfg.dtype is not None:
        model.to(getattr(torch, cfg.dtype))  # the low-rank matrices; the rest has it
    model.save_pretrained(to)
    copy_kept(start, to)
    write_generation(run, to, student.vocabulary.eos)
    write_template(run, to)
    write_text(to / "README.md", card(cfg, run, folder, step))


@torch.no_grad()
def merge(model: PreTrainedModel) -> None:
    """W <- W + (alpha / r) B A in place, for every layer with low-rank matrices; the model is then
    as it would be without peft."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [(name, x) for name, x in model.named_modules() if isinstance(x, BaseTunerLayer)]
    for name, layer in adapted:
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    model.delete_adapter("default")


def copy_kept(start: str | Path, to: Path) -> None:
    """Each file as it is, but for processor classes of ours, which become the families' own."""
    source = files_of(start)
    for file in sorted(file for pattern in KEPT for file in source.glob(pattern)):
        target = to / file.relative_to(source)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)
    for file in to.glob("*_config.json"):
        text = file.read_text()
        for ours in IMAGE_ONLY.values():
            text = text.replace(f'"{ours.__name__}"', f'"{ours.__bases__[-1].__name__}"')
        write_text(file, text)


def files_of(start: str | Path) -> Path:
    """A folder with the checkpoint's small files, downloaded where there is none."""
    name, revision = named(start)
    if Path(name).is_dir():
        return Path(name)
    return Path(load(start, snapshot_download, revision=revision, allow_patterns=[*KEPT]))


def write_generation(run: DictConfig, to: Path, eos: tuple[int, ...]) -> None:
    """Where the run named its own ends of an answer, generation stops at them too."""
    if run.model.eos is not None:
        file = to / "generation_config.json"
        settings = json.loads(file.read_text()) | {"eos_token_id": [*eos]}
        write_text(file, json.dumps(settings, indent=2) + "\n")


def write_template(run: DictConfig, to: Path) -> None:
    """The chat template of the run, where it is not the checkpoint's."""
    template = template_of(run.model.chat_template)
    if template is not None:
        (to / "chat_template.json").unlink(missing_ok=True)
        write_text(to / "chat_template.jinja", template)


def push(folder: Path, name: str, *, private: bool) -> str:
    """Upload a written folder; says its address."""
    api = HfApi()
    try:
        url = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=url.repo_id, folder_path=folder, commit_message="gndpo-export")
    except (HTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        flag = " --private" if private else ""
        raise UserError(
            f"push={name} failed ({reason}); the folder is written, and `hf upload {name} "
            f"{folder}{flag}` uploads it once that is mended (`hf auth login` signs in)"
        ) from error
    return str(url)


CARD = """\
---
{metadata}
---

# {name}

A student of on-policy distillation, written by gndpo-export.

{facts}
"""
OWN = {"student": "the student's own weights", "adapter_off": "the student without its adapter"}


def card(cfg: DictConfig, run: DictConfig, folder: RunFolder, step: int) -> str:
    """README.md: what was trained, from what, towards what."""
    status = folder.status()
    weights = run.teacher.weights
    teachers = [weights] if isinstance(weights, str) else [*weights.values()]
    names = OWN | {"pair": origin(run, "teacher")}
    facts = {
        "Run": f"{status['name']}, step {step} of {status['steps']}, seed {status['seed']}",
        "Strategy": status["strategy"],
        "Student at the start": origin(run, run.model.trains),
        "Teacher": ", ".join(names.get(teacher, teacher) for teacher in teachers),
        "Trained": trained_parts(cfg, run),
        "System prompt": run.model.system or "none",
        "gndpo": f"{version('gndpo')}, commit {status['git_commit']}",
    }
    return CARD.format(
        metadata=metadata(cfg, run),
        name=status["name"],
        facts="\n".join(f"- {fact}: {text}" for fact, text in facts.items()),
    )


def origin(run: DictConfig, which: str) -> str:
    """What the run's configuration calls one of the pair; the embedded one has no names."""
    given = run.model.pair[which]
    return given if isinstance(given, str) else f"the {which} of gndpo-pretrain"


def trained_parts(cfg: DictConfig, run: DictConfig) -> str:
    parts = [*(run.model.parts or ())]
    if run.model.adapter is None:
        return ", ".join(parts) or "everything"
    state = "merged into it" if cfg.merge else "to be added by peft"
    return ", ".join([f"low-rank matrices of the language model, {state}", *parts])


def metadata(cfg: DictConfig, run: DictConfig) -> str:
    """What the Hub reads; a base model must be a name there."""
    start = run.model.pair[run.model.trains]
    on_hub = isinstance(start, str) and not Path(start).is_dir()
    lines = [f"library_name: {'transformers' if cfg.merge else 'peft'}", "tags: [gndpo]"]
    return "\n".join([*lines, f"base_model: {named(start)[0]}"] if on_hub else lines)


@console
def main() -> None:
    sys.argv[1:] = quoted(sys.argv[1:])
    app()


if __name__ == "__main__":
    main()
