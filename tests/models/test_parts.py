"""Vision tower, projector, language model: where a weight belongs, what learns, what an adapter
touches."""

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from twins import FAMILIES, VISION

from gndpo.errors import UserError
from gndpo.models.parts import PARTS, linear_layers, part_of, train_only, trained
from gndpo.policies import add_adapter
from tests.models import conftest as models

families = models.families
HOMES = {  # the modules that make up a part
    "internvl": {
        "vision": ["model.vision_tower"],
        "projector": ["model.multi_modal_projector"],
    },
    "qwen3_vl": {
        "vision": ["model.visual.patch_embed", "model.visual.pos_embed", "model.visual.blocks"],
        "projector": ["model.visual.merger", "model.visual.deepstack_merger_list"],
    },
    "qwen2_5_vl": {
        "vision": ["model.visual.patch_embed", "model.visual.blocks"],
        "projector": ["model.visual.merger"],
    },
    "gemma3": {
        "vision": ["model.vision_tower"],
        "projector": ["model.multi_modal_projector"],
    },
    "llava": {
        "vision": ["model.vision_tower"],
        "projector": ["model.multi_modal_projector"],
    },
    "llava_next": {
        "vision": ["model.vision_tower"],
        "projector": ["model.multi_modal_projector", "model.image_newline"],
    },
}
LANGUAGE = ("model.language_model", "model.embed_tokens", "model.layers", "model.norm", "lm_head")


@pytest.fixture(params=FAMILIES)
def named(request, families):
    """A family's name and its model."""
    return request.param, families(request.param).policy(dtype=torch.float32).model


def below(name, modules):
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def test_every_weight_of_every_family_belongs_to_its_part(named):
    family, model = named
    homes = {**HOMES.get(family, {}), "language": LANGUAGE}
    seen = set()
    for name, _ in model.named_parameters():
        (home,) = (part for part, modules in homes.items() if below(name, modules))
        assert part_of(name) == home, name
        seen |= {module for module in homes[home] if below(name, [module])}
    expected = {module for modules in HOMES.get(family, {}).values() for module in modules}
    assert seen - {*LANGUAGE} == expected  # no module of the table is missing in the model


@pytest.mark.parametrize(
    "parts", [["vision"], ["projector"], ["language"], ["projector", "language"], [*PARTS]]
)
def test_only_the_chosen_parts_learn(named, parts):
    family, model = named
    there = PARTS if family in VISION else ("language",)
    if not {*parts} & {*there}:
        with pytest.raises(UserError) as error:
            train_only(model, parts)
        sentence = "the student has only language; use model.parts=null"
        assert str(error.value) == f"model.parts={parts}: {sentence}"
        return
    for chosen in (parts, there[-1:], parts):  # whatever learnt before
        train_only(model, chosen)
        names = {name for name, _ in model.named_parameters() if part_of(name) in chosen}
        assert names
        assert trained(model).keys() == names
        assert {name for name, p in model.named_parameters() if p.requires_grad} == names


@pytest.mark.parametrize("parts", [[], ["lanuage"], ["language", "head"]])
def test_parts_that_do_not_exist_are_refused(families, parts):
    model = families("internvl").policy(dtype=torch.float32).model
    with pytest.raises(UserError) as error:
        train_only(model, parts)
    assert str(error.value) == (
        f"model.parts={parts}: choose at least one of vision, projector, language"
    )


def test_tied_weights_are_trained_once(families):
    """The head of internvl is its embedding."""
    model = families("internvl").policy(dtype=torch.float32).model
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert sum(p is model.lm_head.weight for p in trained(model).values()) == 1


def test_linear_layers_of_the_language_model_are_those_of_its_blocks(named):
    """Two blocks of attention (q, k, v, o) and MLP (gate, up, down); never the head, never the
    vision tower."""
    family, model = named
    head = model.get_output_embeddings()
    found = linear_layers(model, "language", without=[head])
    kinds = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert sorted(name.rsplit(".", 1)[1] for name in found) == sorted(2 * kinds)
    inside = "model.language_model.layers." if family in VISION else "model.layers."
    assert all(name.startswith(inside) for name in found)
    assert {*linear_layers(model, "language", without=[])} == {*found, "lm_head"}
    for part in ("vision", "projector"):
        assert all(part_of(name) == part for name in linear_layers(model, part, without=[]))
    assert bool(linear_layers(model, "vision", without=[])) == (family in VISION)


@pytest.mark.parametrize("parts", [(), ("projector",), ("vision", "projector")])
def test_an_adapter_stands_beside_exactly_these_layers(named, parts):
    """Of the other parts those named learn as well."""
    family, model = named
    layers = {*linear_layers(model, "language", without=[model.get_output_embeddings()])}
    others = {name for name, _ in model.named_parameters() if part_of(name) in parts}
    if parts and family not in VISION:
        with pytest.raises(UserError, match="the student has only language"):
            add_adapter(model, OmegaConf.create({"r": 2}), parts)
        return
    add_adapter(model, OmegaConf.create({"r": 2}), parts)
    matrices = {f"{name}.lora_{x}.default.weight" for name in layers for x in "AB"}
    assert trained(model).keys() == matrices | others
    assert {part_of(name) for name in matrices} == {"language"}


def test_names_decide_not_numbers_of_layers():
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.visual = nn.ModuleDict({"blocks": nn.Linear(1, 1), "merger": nn.Linear(1, 1)})
            self.vision_model = nn.Linear(1, 1)
            self.deepstack_merger_list = nn.ModuleList([nn.Linear(1, 1)])
            self.lm_head = nn.Linear(1, 1)

    found = [part_of(name) for name, _ in Other().named_parameters() if name.endswith("weight")]
    assert found == ["vision", "projector", "vision", "projector", "language"]
