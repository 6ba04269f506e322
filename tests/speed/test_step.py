"""A whole step of `gndpo-train`, counted: nothing goes through a model twice. Work is counted, not
timed."""

from collections import Counter
from dataclasses import replace

import pytest

from benchmarks import ours, pairs
from benchmarks.cases import TINY
from gndpo.heads import Head

CASE = replace(TINY, prompt=64, answer=6, group=3, prompts=2)
P, G, L, T = CASE.prompts, CASE.group, CASE.prompt, CASE.answer
N = P * G * T
PIECES = ["updates.micro=1", "rollout.micro=1"]
PLAIN = ["reuse.prompts=false", "reuse.images=false", "reuse.states=false"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    pairs.write(CASE, folder, steps=1)
    return folder


@pytest.fixture
def work(folder, monkeypatch):
    """work(advantage, overrides): images, prompt tokens, answer tokens and rows of the vocabulary
    that went through student and teacher in one step."""
    rows: Counter = Counter()
    logits = Head.logits

    def counting(head, hidden_NH, *ids):
        out = logits(head, hidden_NH, *ids)
        rows[head.linear.in_features] += out.numel() / head.vocabulary.size
        return out

    def listen(policy, counts):
        policy.backbone.vision_tower.register_forward_pre_hook(
            lambda _, args, given: counts.update(images=len(given.get("pixel_values", *args))),
            with_kwargs=True,
        )

        def read(_, args, given):
            rows_, tokens = given["inputs_embeds"].shape[:2]
            counts["prompt" if tokens == L else "answer"] += rows_ * tokens

        policy.backbone.language_model.register_forward_pre_hook(read, with_kwargs=True)

    def take(advantage, *overrides):
        cfg = ours.configuration(CASE, folder, advantage, 1, [*overrides, "eval.every=0"])
        module = ours.make_module(cfg)
        counts = {"student": Counter(), "teacher": Counter()}
        listen(module.student, counts["student"])
        listen(module.teachers.source.policy, counts["teacher"])
        monkeypatch.setattr(Head, "logits", counting)
        rows.clear()
        ours.fit(cfg, module, [])
        for policy, found in zip(
            (module.student, module.teachers.source.policy), counts.values(), strict=True
        ):
            found["rows"] = round(rows[policy.head.linear.in_features])
        return counts["student"], counts["teacher"]

    return take


def test_one_step_of_sampled_tokens(work):
    """The student's vocabulary: drawn from, then for the gradient and in its backward pass."""
    student, teacher = work("raw_kl")
    assert student == {"images": P, "prompt": P * L, "answer": 2 * P * G * (T - 1), "rows": 3 * N}
    assert teacher == {"images": P, "prompt": P * L, "answer": P * G * (T - 1), "rows": N}


def test_one_step_of_whole_distributions(work):
    """The student's vocabulary: drawn from, then forward and backward at once. The teacher's: its
    log-probabilities for the metrics, its distributions for the update."""
    student, teacher = work("full_kl")
    assert student == {"images": P, "prompt": P * L, "answer": 2 * P * G * (T - 1), "rows": 2 * N}
    assert teacher == {"images": P, "prompt": P * L, "answer": P * G * (T - 1), "rows": 2 * N}


def test_a_frozen_tower_sees_an_image_once_however_many_pieces(work):
    student, teacher = work("raw_kl", *PIECES, "model.parts=[language]")
    assert student["images"] == teacher["images"] == P
    assert student["prompt"] == 2 * P * L


def test_the_plain_path_does_it_all_again(work):
    """So that the counters are known to count."""
    student, teacher = work("raw_kl", *PLAIN)
    assert student["images"] == 3 * P
    assert student["prompt"] == 3 * P * L
    assert student["answer"] == 3 * P * G * (T - 1)
    assert teacher["prompt"] == P * L
