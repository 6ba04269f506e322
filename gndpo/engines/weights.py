"""The student as a folder that a server loads."""

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from gndpo import ranks
from gndpo.disk import writing
from gndpo.errors import UserError
from gndpo.export import copy_kept, merge
from gndpo.gradients import full
from gndpo.runfolder import write_text


def put_together(model: PreTrainedModel) -> dict[str, Tensor]:
    """What the ranks hold shards of, whole, in the first rank's main memory. All ranks take part,
    one weight after another."""
    shards = {name: x for name, x in model.state_dict().items() if isinstance(x, DTensor)}
    if shards and adapted(model):
        raise UserError(
            "rollout=vllm with an adapter on a student in shards: a server loads merged weights, "
            "and no rank has all to merge; use trainer=ddp, or trainer.strategy.student=false"
        )
    found = {}
    for name, x in shards.items():
        whole = full(x)
        if ranks.rank() == 0:
            found[name] = whole.cpu()
    return found


def write(
    model: PreTrainedModel, start: Path, to: Path, of_shards: Mapping[str, Tensor] | None = None
) -> None:
    """Weights and configuration as they are now, low-rank matrices merged into a copy, and what the
    starting checkpoint reads with. The head is not tied to the embedding: of a tied one, vLLM 0.32
    on CPUs keeps a packed copy that a reload does not renew. Written beside and renamed."""
    beside = to.with_name(f".{to.name}")
    with writing(to):
        shutil.rmtree(beside, ignore_errors=True)
        whole = merged(model)
        whole.save_pretrained(beside, state_dict=with_head(whole) | dict(of_shards or {}))
        copy_kept(start, beside)
        untie(beside / "config.json")
        shutil.rmtree(to, ignore_errors=True)
        beside.rename(to)


def adapted(model: PreTrainedModel) -> bool:
    return bool(getattr(model, "_hf_peft_config_loaded", False))


def merged(model: PreTrainedModel) -> Any:
    """The model without low-rank matrices beside its layers; itself, where it has none."""
    if not adapted(model):
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
