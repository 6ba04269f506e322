"""The student as a folder: any program that reads checkpoints computes what the student does."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from twins import write as write_twin

from gndpo.engines.weights import write
from gndpo.models.load import load_model, load_processor
from gndpo.policies import add_adapter
from tests.runs.conftest import pair  # noqa: F401

IDS = torch.tensor([[5, 9, 11, 4]])


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=IDS).logits
    return found


def test_a_folder_holds_the_weights_of_now_and_reads_as_the_first(
    pair: dict[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    model = load_model(pair["student"])
    for _ in range(2):  # the second over the first
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.01)
        write(model, pair["student"], tmp_path / "now")
        assert torch.equal(logits(load_model(tmp_path / "now")), logits(model))
    told = "1 and 2?"
    own = [load_processor(x).tokenizer(told) for x in (pair["student"], tmp_path / "now")]
    assert own[0] == own[1]
    assert [x.name for x in tmp_path.iterdir()] == ["now"]


def test_low_rank_matrices_are_merged_and_the_student_keeps_them_apart(
    pair: dict[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    model = load_model(pair["student"])
    plain = logits(model)
    add_adapter(model, OmegaConf.create({"r": 2, "lora_alpha": 4}), ())
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    adapted = logits(model)
    write(model, pair["student"], tmp_path / "now")
    assert not any("lora" in name for name in load_file(tmp_path / "now" / "model.safetensors"))
    torch.testing.assert_close(logits(load_model(tmp_path / "now")), adapted)
    assert torch.equal(logits(model), adapted)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(adapted, plain)


@pytest.mark.parametrize("family", ["internvl", "text_qwen3", "gemma3"])
def test_a_tied_head_becomes_one_of_its_own(family: str, tmp_path: Path) -> None:
    """A server may then load either without the other."""
    start = write_twin(family, tmp_path / "start")
    model = load_model(start)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    write(model, start, tmp_path / "now")
    now = load_model(tmp_path / "now")
    assert now.get_output_embeddings().weight is not now.get_input_embeddings().weight
    assert torch.equal(logits(now), logits(model))
