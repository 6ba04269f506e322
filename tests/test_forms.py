"""Values of another form than their key has: one sentence, whatever would have become of them."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from gndpo.build import config_folder
from gndpo.errors import UserError
from gndpo.forms import check_forms, check_section


@pytest.fixture(scope="module")
def composed():
    with initialize_config_dir(config_folder(), version_base="1.3"):
        return {
            name: compose("train", overrides=["sweep=x", *overrides])
            for name, overrides in {
                "mine": ["model=checkpoints", "data=local"],
                "digits": [],
            }.items()
        }


TEXT, TEXTS, FLAG = "a text", "a list of texts", "true or false"
NAMED = "settings by name, like {a: 1}"
NATURAL, COUNT = "a whole number, 0 or larger", "a whole number, 1 or larger"
WRONG = [
    ("model.pair", None, NAMED),
    ("model.pair.student", 5, f"{TEXT}, or null"),
    ("model.pair.teacher", {"a": 1}, f"{TEXT}, or null"),
    ("model.parts", "language", f"{TEXTS}, or null"),
    ("model.parts", [5], f"{TEXTS}, or null"),
    ("model.eos", "<|im_end|>", f"{TEXTS}, or null"),
    ("model.adapter", 8, f"{NAMED}, or null"),
    ("model.checkpointing", "maybe", FLAG),
    ("model.remote_code", 5, FLAG),
    ("model.system", ["a"], f"{TEXT}, or null"),
    ("model.chat_template", 5, f"{TEXT}, or null"),
    ("model.template_arguments", ["a"], f"{NAMED}, or null"),
    ("model.image_arguments", 5, f"{NAMED}, or null"),
    ("data.rows", None, NAMED),
    ("data.seed", -1, NATURAL),
    ("data.evaluation_seed", "abc", NATURAL),
    ("data.max_prompt_tokens", None, COUNT),
    ("data.max_prompt_tokens", 1.5, COUNT),
    ("data.steps", True, COUNT),
    ("data.rows.source", 5, f"{TEXT}, or null"),
    ("data.rows.splits", "train", "texts by name, like {a: b}"),
    ("data.rows.splits", {"train": 5}, "texts by name, like {a: b}"),
    ("data.rows.keep", {"kind": "a"}, "lists by name, like {a: [b]}"),
    ("data.rows.distinct", "maybe", FLAG),
    ("data.rows.streaming", None, FLAG),
    ("data.rows.cut_seed", -1, f"{NATURAL}, or null"),
    ("data.rows.buffer", 0, COUNT),
    ("data.rows.folder", 5, f"{TEXT}, or null"),
    ("data.rows.replace", ["ab"], "a list of pairs of texts"),
    ("data.rows.replace", [["a", "b", "c"]], "a list of pairs of texts"),
    ("data.rows.answer_pattern", 5, f"{TEXT}, or null"),
    ("data.rows.template", None, TEXT),
    ("data.rows.fields", 5, NAMED),
    ("data.rows.fields.problem", None, TEXT),
    ("data.rows.fields.images", {"a": "b"}, "a text or a list of texts, or null"),
    ("data.rows.fields.kind", 5, f"{TEXT}, or null"),
    ("data.rows.fields.further", ["a"], "texts by name, like {a: b}"),
    ("data.rows.filters", None, NAMED),
    ("data.rows.filters.max_pixels", [1], f"{COUNT}, or null"),
]


@pytest.mark.parametrize(("key", "value", "form"), WRONG, ids=[f"{k}={v}" for k, v, _ in WRONG])
def test_another_form_is_one_sentence(composed, key, value, form):
    cfg = composed["mine"].copy()
    OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    with pytest.raises(UserError) as error:
        check_forms(cfg)
    assert str(error.value) == f"{key}={value} must be {form}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.pair.student", "name@revision"),
        ("model.parts", ["vision"]),
        ("model.eos", ["<|im_end|>"]),
        ("model.adapter", {"r": 8}),
        ("data.rows.fields.images", ["a", "b"]),
        ("data.rows.fields.images", None),
        ("data.rows.keep", {"kind": [1, "a"]}),
        ("data.rows.replace", [["a", "b"]]),
        ("data.rows.cut_seed", None),
    ],
)
def test_the_right_form_passes(composed, key, value):
    cfg = composed["mine"].copy()
    OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    check_forms(cfg)


@pytest.mark.parametrize("value", [3, [0, 1.5], [True], "0,1"])
def test_a_list_of_whole_numbers(value):
    form = {"a list of whole numbers": "seeds"}
    check_section("", OmegaConf.create({"seeds": [0, 2]}), form)
    with pytest.raises(UserError, match=r"^seeds=.* must be a list of whole numbers$"):
        check_section("", OmegaConf.create({"seeds": value}), form)


def test_models_and_data_of_other_kinds_are_left_alone(composed):
    check_forms(composed["digits"])
