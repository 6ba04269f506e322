"""The dry run finds what a strategy reads: no less, or scoring would fail, and no more, or it would
pay for nothing."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from gndpo.build import build
from gndpo.errors import UserError
from gndpo.loss import answer_loss
from gndpo.pieces import Piece
from gndpo.reads import Reads, dry_run, random_scores
from gndpo.rows import DenseHead, Rows
from gndpo.scores import Scores
from gndpo.signal import Match, Signal
from gndpo.surrogates import reinforce, token_weights
from gndpo.views import View

LOGP = frozenset({("logp",)})
CONF = Path(__file__).parents[1] / "conf" / "advantage"
NAMES = sorted(p.stem for p in CONF.glob("*.yaml"))
EXPECTED = {
    "raw_kl": Reads({"student": LOGP, "teacher": LOGP}, frozenset(), frozenset({"student"})),
    "gndpo": Reads({"student": LOGP, "teacher": LOGP}, frozenset(), frozenset({"student"})),
    "full_kl": Reads(
        {"student": LOGP, "teacher": LOGP}, frozenset({"teacher"}), frozenset({"student"})
    ),
    "trust_region": Reads(
        {"student": LOGP, "teacher": LOGP | {("top_k_ids", 16), ("top_k_logp", 16)}},
        frozenset(),
        frozenset({"student"}),
    ),
    "decomposed": Reads(
        {
            "student": LOGP,
            "teacher": LOGP | {("kl", "teacher_text")},
            "student_text": frozenset(),
            "teacher_text": frozenset(),
        },
        frozenset({"teacher", "student_text", "teacher_text"}),
        frozenset({"student", "student_text"}),
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_reads_of_the_five(make_strategy, name):
    assert dry_run(make_strategy(name), 40) == EXPECTED[name]


def test_a_knob_changes_what_is_read(make_strategy):
    assert dry_run(make_strategy("trust_region", k=None), 40) == EXPECTED["raw_kl"]


def restricted(scores, reads):
    """The same scores, with nothing in them but what `reads` names: what scoring hands to a
    strategy."""
    views = {}
    for name, requests in reads.requests.items():
        known = {request: scores.views[name].read(request) for request in requests}
        rows = scores.views[name].rows if name in reads.whole else None
        views[name] = View(name, scores.ids_BT, scores.mask_BT, rows, known)
    return Scores(**{**vars(scores), "views": views})


def run(strategy, scores, logits):
    signal = strategy(scores)
    trained = {"student", *(match.view for match in signal.matches)}
    rows = {name: Rows(logits[name][scores.mask_BT], DenseHead()) for name in trained}
    weight_BT = token_weights(scores.mask_BT, "token_mean")
    loss = answer_loss(
        rows, scores, signal, reinforce, weight_BT, Piece(torch.arange(6), torch.arange(6))
    )
    return signal.advantage_BT, loss.total


@pytest.mark.parametrize("name", NAMES)
def test_what_is_found_is_enough(make_strategy, dense, name):
    views, strategy = dense(seed=1), make_strategy(name)
    everything = run(strategy, views.scores(), views.logits)
    asked = restricted(views.scores(), dry_run(strategy, 40))
    for a, b in zip(run(strategy, asked, views.logits), everything, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_found_is_needed(make_strategy, dense, name):
    """Leaving out any one quantity or distribution is an error that names it."""
    views, strategy = dense(seed=1), make_strategy(name)
    reads = dry_run(strategy, 40)
    always = {("student", ("logp",)), ("teacher", ("logp",))}
    found = {(view, request) for view, asked in reads.requests.items() for request in asked}
    for view, request in found - always:
        fewer = {**reads.requests, view: reads.requests[view] - {request}}
        without = Reads(fewer, reads.whole - {view}, reads.trained)
        with pytest.raises(KeyError, match="not asked for at start-up"):
            run(strategy, restricted(views.scores(), without), views.logits)
    for view in reads.whole:
        without = Reads(reads.requests, reads.whole - {view}, reads.trained)
        with pytest.raises(KeyError, match=f"the {view} view's whole distribution"):
            run(strategy, restricted(views.scores(), without), views.logits)


def pulls(scores, **options):
    zero_BT = torch.zeros_like(scores.student.logp_BT)
    return Signal(zero_BT, (Match("m", zero_BT, **options),))


def test_a_support_asks_for_the_other_view_at_its_ids():
    reads = dry_run(lambda s: pulls(s, target={"teacher": 1.0}, support=("student", 3)), 40)
    assert reads.requests["student"] == LOGP | {("top_k_ids", 3), ("top_k_logp", 3)}
    assert reads.requests["teacher"] == LOGP | {("at_top_k", "student", 3)}
    assert not reads.whole


def test_sampled_targets_read_nothing():
    reads = dry_run(lambda s: pulls(s, target={"sampled": 1.0}, view="student_text"), 40)
    assert reads == Reads(
        {"student": LOGP, "teacher": LOGP}, frozenset(), frozenset({"student", "student_text"})
    )


def test_a_divergence_asks_for_the_other_view_too():
    def strategy(scores):
        return Signal(scores.student.kl("student_text"))

    reads = dry_run(strategy, 40)
    assert reads.requests["student"] == LOGP | {("kl", "student_text")}
    assert reads.requests["student_text"] == frozenset()


def test_a_strategy_must_return_a_signal():
    with pytest.raises(UserError, match="returned Tensor, it must return a gndpo"):
        dry_run(lambda scores: scores.student.logp_BT, 40)


@pytest.mark.parametrize("names", [["a", "a"], ["surrogate"]])
def test_matches_need_names_of_their_own(names):
    """The parts of a loss are kept by name; one would hide another."""

    def strategy(scores):
        zero_BT = torch.zeros_like(scores.student.logp_BT)
        return Signal(zero_BT, tuple(Match(name, zero_BT, {"teacher": 1.0}) for name in names))

    with pytest.raises(UserError, match="names of their own"):
        dry_run(strategy, 40)


@pytest.mark.parametrize("direction", ["revers", 0.0, 1, 1.5, None])
def test_unknown_directions_are_refused_at_start_up(make_strategy, direction):
    with pytest.raises(UserError, match=f"direction={direction} is unknown; choose reverse"):
        dry_run(make_strategy("full_kl", direction=direction), 40)


@pytest.mark.parametrize("k", [0, 41])
def test_more_ids_than_the_vocabulary_has_are_refused_at_start_up(make_strategy, k):
    with pytest.raises(UserError, match=f"k={k} likeliest ids are asked for; choose 1 to 40"):
        dry_run(make_strategy("trust_region", k=k), 40)


def test_random_scores_have_something_of_everything():
    scores = random_scores(40)
    assert scores.mask_BT.any(0).all()
    assert not scores.mask_BT.all()
    assert len(scores.group_B.unique()) == 2
    assert (scores.teacher.logp_BT != scores.student.logp_BT)[scores.mask_BT].all()


def test_a_knob_that_no_strategy_takes_is_one_sentence() -> None:
    """OmegaConf answers a number plus a list with a bare assertion."""
    cfg = OmegaConf.load(CONF / "mix.yaml")
    cfg.first.eps = [1]
    with pytest.raises(UserError, match="check its knobs: AssertionError"):
        dry_run(build(cfg, "advantage"), 40)
