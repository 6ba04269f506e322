"""NaN and infinity: the step is skipped and counted, weights and averages stay clean, rows stay
JSON."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from gndpo.build import build_advantage
from gndpo.folders import config_folder
from gndpo.guard import Skips, as_json, first_not_finite, kept, skips_of
from gndpo.metrics import score_metrics, signal_metrics
from gndpo.reads import dry_run
from gndpo.scores import Scores
from gndpo.scoring import score
from gndpo.sources import Source
from gndpo.stats import quantiles
from gndpo.surrogates import reinforce
from gndpo.teachers import sources
from gndpo.update import Batch, update
from tests.runs.conftest import Finished
from tests.test_pieces import WHOLE, G, answers, prompts, settings_of

__all__ = ["answers", "prompts"]

ADVANTAGES = Path(__file__).parents[2] / "conf" / "advantage"
NAMES = sorted(file.relative_to(ADVANTAGES).with_suffix("") for file in ADVANTAGES.rglob("*.yaml"))
NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def impossible(teacher, answers) -> tuple[Any, torch.Tensor]:
    """A teacher that holds the first answer's first token impossible, and where it was written."""
    strict = copy.deepcopy(teacher)
    linear = strict.head.linear
    linear.bias = torch.nn.Parameter(torch.zeros(len(linear.weight), dtype=torch.double))
    linear.bias.data[answers.ids_BT[0, 0]] = -INF
    return strict, (answers.ids_BT == answers.ids_BT[0, 0]) & answers.mask_BT


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_a_token_that_the_teacher_holds_impossible_poisons_nothing(
    name, student, teacher, impossible, prompts, answers
) -> None:
    """One step with it, one without: afterwards weights and what is carried are numbers."""
    with initialize_config_dir(config_folder(), version_base="1.3"):
        section = compose("train", [f"advantage={name}"]).advantage
    section.update({"k": min(section.k, 16)} if section.get("k") else {})  # the vocabulary is tiny
    strategy = build_advantage(section)
    strict, where_BT = impossible
    ours = copy.deepcopy(student).requires_grad_(True)
    reads = dry_run(strategy, student.vocabulary.size)
    optimizer = torch.optim.Adam(ours.parameters(), lr=1e-3)
    carry: Any = {}
    for step, judge in enumerate((strict, teacher)):
        views = sources(Source.of(ours), Source.of(judge))
        scores = Scores(
            ids_BT=answers.ids_BT,
            mask_BT=answers.mask_BT,
            views=score(views, prompts, answers, reads, WHOLE),
            author_BT=answers.author_BT,
            behaviour_logp_BT=answers.logp_BT,
            uniform_BT=torch.full_like(answers.logp_BT, 0.5),
            group_B=torch.arange(3).repeat_interleave(G),
            reward_B=torch.arange(3.0 * G),
            step=step,
            steps=4,
            carry=carry,
        )
        signal = strategy(scores)
        carry = kept(carry, signal.carry)
        kind = "sequence_mean_token_mean"
        batch = Batch(prompts, scores, signal, kind, reinforce, torch.Tensor.backward)
        row = update(views, reads.trained, batch, optimizer, settings_of(WHOLE), halves=False)
        row |= score_metrics(scores) | signal_metrics(scores, signal)
        assert row["teacher/log_ratio_infinite"] == (0 if step else int(where_BT.sum()))
        assert math.isfinite(row["teacher/log_ratio_p01"])
        assert row["train/updates"] == 1 - row["grad/skipped"]
        assert all(p.isfinite().all() for p in ours.parameters())
        assert all(x.isfinite().all() for x in carry.values())
    assert row["grad/skipped"] == 0


def test_quantiles_beside_infinity_are_no_differences_of_infinities() -> None:
    x_N = torch.tensor([-INF, -INF, 0.0, 1.0, INF])
    found = [float(x) for x in quantiles(x_N, (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0))]
    assert found == [-INF, -INF, -INF, 0.0, 0.0, pytest.approx(0.4), 1.0, INF]


def test_what_was_not_finite_first() -> None:
    fine = {
        "policy/kl_behaviour": 0.0,
        "teacher/log_ratio_infinite": 0.0,
        "advantage/infinite": 0.0,
        "train/loss": 1.0,
    }
    bad = {
        "train/loss": (NAN, "the loss"),
        "advantage/infinite": (2.0, "the advantage"),
        "teacher/log_ratio_infinite": (1.0, "the teacher's log-probability of a sampled token"),
        "policy/kl_behaviour": (None, "the student's log-probability of a sampled token"),
    }
    assert first_not_finite(fine) == "the gradient"
    row = dict(fine)
    for name, (value, said) in bad.items():
        row[name] = value
        assert first_not_finite(row) == said


def test_skipped_updates_are_counted_until_one_is_made() -> None:
    """(updates so far, skipped in this step), two updates per step."""
    rows = [(2, 0), (2, 2), (2, 2), (3, 1), (3, 2)]
    counts = [0, 2, 4, 1, 3]
    skips = Skips()
    for (updates, skipped), count in zip(rows, counts, strict=True):
        skips = skips.after({"train/updates": updates, "grad/skipped": skipped})
        assert skips.count == count
    found = skips_of({"train/updates": u, "grad/skipped": s} for u, s in rows)
    assert found == skips


def test_what_is_carried_stays_what_it_was_when_the_new_is_not_finite() -> None:
    old, new = {"mean": torch.ones(())}, {"mean": torch.zeros(()), "count": torch.tensor(3)}
    assert kept(old, new) == new
    assert kept(old, new | {"squares": torch.tensor(NAN)}) is old


def test_json_has_null_for_what_is_no_number() -> None:
    told = {"a": NAN, "b": [1.5, -INF, "x", None], "c": {"d": [INF]}, "e": True}
    assert as_json(told) == {"a": None, "b": [1.5, None, "x", None], "c": {"d": [None]}, "e": True}


def strictly(done: Finished, name: str) -> list[dict[str, Any]]:
    """Rows as a reader that knows JSON alone reads them."""

    def refuse(token: str) -> None:
        raise ValueError(token)

    lines = (done.folder / name).read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def test_a_step_that_is_not_finite_is_skipped_and_the_run_goes_on(run, injected, readable) -> None:
    done = run("logger=[wandb,tensorboard]", *injected("NotFinite", first=1, steps=1))
    assert done.code == 0, done.err
    rows = strictly(done, "metrics.jsonl")
    assert [row["grad/skipped"] for row in rows] == [0, 1, 0]
    assert [row["train/updates"] for row in rows] == [1, 1, 2]
    assert rows[1]["grad/norm"] is None
    assert rows[1]["teacher/log_ratio_infinite"] > 0
    assert None in strictly(done, "samples.jsonl")[2]["tokens"]["teacher"]
    said = "step 2: the teacher's log-probability of a sampled token is not finite"
    assert done.err.count(said) == 1
    assert "switched off" not in done.err
    readable(done, 3)


def test_a_run_whose_steps_are_all_skipped_ends_with_one_sentence(run, injected, readable) -> None:
    fault = injected("NotFinite", first=1, steps=9)
    done = run("steps=6", "updates.max_skipped=2", *fault)
    assert done.code == 1
    assert "step 3: 2 updates in a row were skipped, because the teacher's" in done.err
    assert "Traceback" not in done.err
    readable(done, 3)
