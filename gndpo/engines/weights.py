"""The student as a folder that a server loads."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from gndpo.disk import writing
from gndpo.export import copy_kept, merge
from gndpo.runfolder import write_text


def write(model: PreTrainedModel, start: Path, to: Path) -> None:
    """Weights and configuration as they are now, low-rank matrices merged into a copy, and what the
    starting checkpoint reads with. The head is not tied to the embedding: of a tied one, vLLM 0.32
    on CPUs keeps a packed copy that a reload does not renew. Written beside and renamed."""
    beside = to.with_name(f".{to.name}")
    with writing(to):
        shutil.rmtree(beside, ignore_errors=True)
        whole = merged(model)
        whole.save_pretrained(beside, state_dict=with_head(whole))
        copy_kept(start, beside)
        untie(beside / "config.json")
        shutil.rmtree(to, ignore_errors=True)
        beside.rename(to)


def merged(model: PreTrainedModel) -> Any:
    """The model without low-rank matrices beside its layers; itself, where it has none."""
    if not getattr(model, "_hf_peft_config_loaded", False):
        return model
    whole = copy.deepcopy(model)
    merge(whole)
    return whole


def with_head(model: PreTrainedModel) -> dict[str, Tensor]:
    """Its weights; those of its head are nobody else's."""
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    state: dict[str, Tensor] = model.state_dict()
    (name,) = [name for name, module in model.named_modules() if module is head]
    return state | {f"{name}.weight": head.weight.detach().clone()}


def untie(file: Path) -> None:
    config = json.loads(file.read_text())
    for part in (config, config.get("text_config", {})):
        part["tie_word_embeddings"] = False
    write_text(file, json.dumps(config, indent=2) + "\n")
