"""sft: the likelihood of the answers, and nothing but noise on the student's own."""

import torch
from torch import tensor

from gndpo.reads import dry_run


def close(actual, expected, atol=1e-12):
    torch.testing.assert_close(
        actual, torch.as_tensor(expected, dtype=torch.double), atol=atol, rtol=0
    )


def test_loss_and_gradient_by_hand(make_strategy, outcome):
    """Probabilities 1/4 and 3/4, then 1/2 and 1/2: -log 1/4 and -log 1/2."""
    logits = {"student": tensor([[[0.25, 0.75], [0.5, 0.5]]]).double().log()}
    logits["teacher"] = torch.zeros(1, 2, 2).double()
    batch = {"ids": tensor([[0, 1]]), "mask": tensor([[1, 1]])}
    done = outcome(make_strategy("sft"), logits, **batch)
    close(done.loss.total.detach(), (1.3862943611 + 0.6931471806) / 2, 1e-9)
    close(done.gradients["student"][0], [[-0.75 / 2, 0.75 / 2], [0.25, -0.25]])


def test_its_size_where_student_and_teacher_are_equal(make_strategy, outcome, dense):
    views = dense(seed=1)
    logits = dict.fromkeys(views.logits, views.logits["student"])
    sums = {"aggregation": "sequence_mean_token_sum"}
    done = outcome(make_strategy("sft"), logits, **sums, **views.batch)
    p_BT = done.scores.student.logp_BT.exp()
    expected = 2 * (1 - p_BT) * views.batch["mask"] / 6
    close(done.gradients["student"].abs().sum(-1), expected)


def test_on_tokens_of_its_own_nothing_is_expected(make_strategy, outcome, dense):
    """Enumerated over the ids with the student's probabilities."""
    V = 7
    one = dense(seed=3, B=1, T=1, V=V)
    logits = {view: x.expand(V, 1, V) for view, x in one.logits.items()}
    batch = {"ids": torch.arange(V)[:, None], "mask": torch.ones(V, 1)}
    gradients = outcome(make_strategy("sft"), logits, **batch).gradients["student"][:, 0]
    p_V = one.logits["student"][0, 0].softmax(-1)
    assert gradients.norm() > 0.1
    close(p_V @ gradients, torch.zeros(V))


def test_no_teacher_is_asked(make_strategy):
    """Its log-probabilities are there for the metrics alone."""
    reads = dry_run(make_strategy("sft"), 40)
    assert reads.requests == {name: {("logp",)} for name in ("student", "teacher")}
    assert not reads.whole
