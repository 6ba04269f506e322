"""The predicted peak: its phase, its items, and the sentence that a user reads."""

import pytest
import torch
from conftest import tiny_policy
from meters import sizes, text_model

from gndpo.memory.prediction import KNOBS, Memory, predict
from gndpo.pieces import Portion


def test_a_meta_model_is_predicted_as_a_real_one(vocabulary):
    real = tiny_policy(vocabulary, seed=0).model
    setting = sizes(patches=65)
    with torch.device("meta"):
        model = type(real)(real.config).double()
    assert predict(model, [model], setting).phases == predict(real, [real], setting).phases
    assert predict(model, [], setting).phases["the update"]["vision"] > 0


def test_the_phase_that_needs_most_is_named_with_its_items_and_knobs():
    phases = {
        "the rollout": {"student": 2 * 10**9, "cache": 5 * 10**9},
        "the update": {
            "student": 2_100_000_000,
            "head": 1000,
            "activations": 9 * 10**9,
            "teacher": 16_400_000_000,
        },
    }
    memory = Memory(phases, device=24 * 10**9)
    assert (memory.phase, memory.peak) == ("the update", 27_500_001_000)
    assert str(memory) == (
        "predicted peak 27.5 GB in the update: teacher 16.4, activations 9, student 2.1\n"
        "3.5 GB more than the device's 24 GB\n"
        "lower it with model.teacher_quantization, model.teacher_dtype, updates.micro, "
        "updates.answers, model.checkpointing, model.dtype"
    )
    assert "more than" not in str(Memory(phases, device=80 * 10**9))
    assert "more than" not in str(Memory(phases))


def test_every_item_has_a_knob():
    memory = predict(text_model(), [text_model()], sizes())
    assert {item for items in memory.phases.values() for item in items} == set(KNOBS)
    assert memory.peak == max(sum(items.values()) for items in memory.phases.values())


@pytest.mark.parametrize(
    ("change", "phase", "item"),
    [
        ({"portion": Portion(1, None, 4096)}, "the update", "activations"),
        ({"portion": Portion(None, 1, 4096)}, "the update", "attention masks"),
        ({"portion": Portion(None, 1, 4096)}, "scoring", "cache"),
        ({"portion": Portion(None, None, 16)}, "the update", "head"),
        ({"checkpointing": True}, "the update", "activations"),
        ({"written": (1, None)}, "the rollout", "cache"),
        ({"written": (1, None)}, "the rollout", "sampling"),
        ({"written": (1, None)}, "the rollout's prompts", "encoding"),
    ],
)
def test_knobs_lower_what_they_are_named_for(change, phase, item):
    model = text_model()
    before, after = (predict(model, [], sizes(**x)).phases[phase][item] for x in ({}, change))
    assert after < before
