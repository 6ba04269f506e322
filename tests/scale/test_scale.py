"""The arithmetic of docs/scale.md, by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.scale import layout
from experiments.scale.layout import STUDENT, TEACHER, Weights, all_reduce, gather, weights
from experiments.scale.simulate import Load, Rates, drawn, fitted, measured, seconds
from gndpo.tables.shapes import build

GB = 10**9
PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
RATES = Rates(step=1.0, token=0.1, prompt=0.01, score=(2.0, 0.5), update=(3.0, 1.0))
LENGTHS = np.array([[2, 4], [6, 1]])


def nothing(ranks: int) -> float:
    return 0.0


def test_the_true_shapes() -> None:
    """A layer of the 32B: 5120 x 128 x (2 x 64 + 2 x 8) of attention, 3 x 5120 x 25600 of the
    feed-forward, norms of 2 x 5120 + 2 x 128."""
    layer = 5120 * 128 * 144 + 3 * 5120 * 25600 + 2 * 5120 + 2 * 128
    assert weights(build(TEACHER)).layers == 64 * layer
    assert weights(build(STUDENT)).all / 1e9 == pytest.approx(4.44, abs=0.005)
    assert weights(build(TEACHER)).all / 1e9 == pytest.approx(33.36, abs=0.005)


def test_what_stays_on_a_gpu() -> None:
    student = Weights(layers=80, rest=20)
    assert sum(layout.replicated(student).values()) == 100 * (2 + 4 + 4 + 8)
    over_8 = layout.sharded(student, 8)
    assert over_8["student"] == 4 * (10 + 20)
    assert over_8["student"] + over_8["whole for the rollout"] == 4 * 100
    assert over_8["Adam"] == 8 * 30


def test_bytes_of_collectives() -> None:
    assert all_reduce(100, 1) == gather(100, 1) == 0
    assert all_reduce(100, 4) == 150
    assert gather(100, 4) == 75
    moved = layout.split(Weights(80, 20), pieces=3, ranks=4)
    assert list(moved.values()) == [2 * 3 * 240, 3 * 240, 1.5 * 80, 240]


def test_traffic_of_a_served_teacher() -> None:
    step = replace(
        layout.STEP, prompts=1, group=2, prompt=3, answer=1, image=300, likeliest=1, pieces=1
    )
    found = layout.traffic(Weights(80, 20), Weights(800, 20), step, 4)
    assert found["served teacher: requests, of the step"] == 8 * 7 + 2 * 400
    entry = '{"151644": {"logprob": -12.34567928314209, "rank": 20, "decoded_token": " the"}}'
    assert found["served teacher: replies, of the step"] == 8 * 2 * len(entry)


def test_one_rank_does_everything_and_two_wait_for_the_slower() -> None:
    load = Load(prompt=10, rows=4, moved=nothing)
    # one batch of 6 token steps, 13 tokens, 2 prompts; 33 tokens are read
    assert seconds(RATES, load, LENGTHS, 1, 0) == pytest.approx(
        (6 + 1.3 + 0.2) + (2 + 16.5) + (3 + 33)
    )
    # written: max(4 + 0.6 + 0.1, 6 + 0.7 + 0.1); read: 16 and 17 tokens
    assert seconds(RATES, load, LENGTHS, 2, 0) == pytest.approx(6.8 + (2 + 8.5) + (3 + 17))


def test_batches_follow_each_other_and_servers_share_the_teacher() -> None:
    load = Load(prompt=10, rows=2, moved=lambda ranks: 300e9 if ranks > 1 else 0.0)
    alone = seconds(RATES, load, LENGTHS, 1, 0)
    assert alone == pytest.approx((4 + 6 + 1.3 + 0.2) + (2 + 16.5) + (3 + 33))
    # every answer is read with its own prompt: 53 tokens at 1 s, by two servers
    served = replace(RATES, teacher=1.0)
    assert seconds(served, load, LENGTHS, 1, 2) == pytest.approx(alone - 18.5 + 26.5)
    # one second within a node; the same bytes over the network take 12
    split = np.repeat(LENGTHS, 8, axis=0)
    within, between = (seconds(RATES, load, split, n, 0) for n in (8, 16))
    free = Load(load.prompt, load.rows, nothing)
    assert within - seconds(RATES, free, split, 8, 0) == pytest.approx(1)
    assert between - seconds(RATES, free, split, 16, 0) == pytest.approx(12)


def test_rates_are_those_that_were_measured() -> None:
    """The fit meets most measured phases within a third of their time."""
    rates, missed = fitted(measured())
    assert min(rates.step, rates.token, *rates.score, *rates.update) >= 0
    assert max(missed.values()) < 1 / 3
    assert rates.update[1] > 0


def test_drawn_lengths_are_repeatable_and_within_limits() -> None:
    lengths = drawn(100, 8, 512, 2048, seed=1)
    assert (lengths == drawn(100, 8, 512, 2048, seed=1)).all()
    assert 1 <= lengths.min() <= lengths.max() == 2048


def test_the_page_shows_what_the_scripts_print() -> None:
    for row in layout.memory_rows((8, 48, 64)):
        assert "| " + " | ".join(row) + " |" in PAGE
    found = layout.traffic(weights(build(STUDENT)), weights(build(TEACHER)), layout.STEP, 48)
    for name, size in found.items():
        assert f"| {name} | {size / GB:.1f} |" in PAGE
