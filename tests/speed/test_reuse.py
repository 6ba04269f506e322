"""What a step has read serves again: the same weights after it, with the reading done once."""

import copy
from contextlib import nullcontext, suppress

import pytest
import torch

from gndpo.encodings import Encodings, remembering
from gndpo.pieces import Portion
from gndpo.prompts import Prompts
from gndpo.reads import dry_run
from gndpo.rng import uniform
from gndpo.rollout import generate
from gndpo.scores import Scores
from gndpo.scoring import score
from gndpo.sources import Source
from gndpo.surrogates import reinforce
from gndpo.teachers import sources
from gndpo.update import Batch, UpdateSettings, update

P, G, T = 3, 2, 6
WHOLE = Portion(micro=None, answers=None, chunk=4096)


class Meter:
    """Images and tokens that go through a policy, forward by forward."""

    def __init__(self, policy):
        self.images, self.tokens = [], []
        backbone = policy.backbone
        backbone.vision_tower.register_forward_pre_hook(
            lambda _, args, given: self.images.append(len(given.get("pixel_values", *args))),
            with_kwargs=True,
        )
        backbone.language_model.register_forward_pre_hook(
            lambda _, args, given: self.tokens.append(tuple(given["inputs_embeds"].shape[:2])),
            with_kwargs=True,
        )


@pytest.fixture
def step(make_strategy, student, teacher, renderings):
    """step("decomposed", prompts=True, states=True): the student after two updates with the same
    answers, what the strategy read, and meters of student and teacher."""

    def take(name, *, prompts, states, trained=None, epochs=1):
        strategy = make_strategy(name)
        reads = dry_run(strategy, 42)
        pair = copy.deepcopy(student), copy.deepcopy(teacher)
        meters = tuple(Meter(policy) for policy in pair)
        views = sources(*(Source.of(policy) for policy in pair))
        asked = Prompts([{}] * P, [""] * P, dict(renderings))
        seen = {views[view].rendering for view in reads.trained} if trained is None else trained
        draws = torch.from_numpy(uniform(2, "tokens", 0, range(P * G), T))
        kept = Encodings(pair[0], asked, trained=seen), [Encodings(pair[1], asked)]
        with remembering(*kept) if prompts else nullcontext():
            answers = generate(
                pair[0],
                asked.renderings["image"],
                group=G,
                max_tokens=T,
                uniform_BT=draws,
                keep_hidden=states,
            )
            scores = Scores(
                ids_BT=answers.ids_BT,
                mask_BT=answers.mask_BT,
                views=score(views, asked, answers, reads, WHOLE),
                author_BT=answers.author_BT,
                behaviour_logp_BT=answers.logp_BT,
                uniform_BT=torch.full_like(answers.logp_BT, 0.9),
                group_B=torch.arange(P).repeat_interleave(G),
                reward_B=torch.zeros(P * G),
            )
            batch = Batch(
                asked, scores, strategy(scores), "token_mean", reinforce, torch.Tensor.backward
            )
            settings = UpdateSettings(epochs, 1, clip_norm=None, **vars(WHOLE))
            optimizer = torch.optim.SGD(pair[0].parameters(), lr=0.01)
            pair[0].train()
            update(views, reads.trained, batch, optimizer, settings, halves=False)
        return pair[0], scores, meters

    return take


@pytest.mark.parametrize("name", ["raw_kl", "trust_region", "full_kl", "decomposed"])
@pytest.mark.parametrize("prompts", [False, True])
@pytest.mark.parametrize("states", [False, True])
def test_reuse_changes_neither_scores_nor_weights(step, name, prompts, states):
    plain, expected, _ = step(name, prompts=False, states=False, epochs=2)
    ours, scores, _ = step(name, prompts=prompts, states=states, epochs=2)
    for view in expected.views:
        for request, x in expected.views[view].known.items():
            torch.testing.assert_close(scores.views[view].read(request), x, rtol=0, atol=1e-12)
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_everything_is_read_once(step, renderings):
    """The student: its prompts, its answers while it writes them, and again with gradients. The
    teacher: prompts and answers."""
    _, scores, (student, teacher) = step("full_kl", prompts=True, states=True)
    L, t = renderings["image"].ids_PL.shape[1], scores.ids_BT.shape[1] - 1
    assert t > 1
    assert student.images == teacher.images == [P]
    assert student.tokens == [(P, L), *[(P * G, 1)] * t, (P * G, t)]
    assert teacher.tokens == [(P, L), (P * G, t)]


def test_without_reuse_everything_is_read_again(step, renderings):
    """The plain path, so that the meters are known to count."""
    _, scores, (student, teacher) = step("full_kl", prompts=False, states=False)
    L, t = renderings["image"].ids_PL.shape[1], scores.ids_BT.shape[1] - 1
    assert student.images == [P] * 3
    assert student.tokens == [(P, L), *[(P * G, 1)] * t, *[(P, L), (P * G, t)] * 2]
    assert teacher.images == [P]


def test_prompts_are_read_again_after_an_update(step):
    """What other weights have read is forgotten; a teacher's stays."""
    _, _, (student, teacher) = step("full_kl", prompts=True, states=True, epochs=3)
    assert student.images == [P] * 3
    assert teacher.images == [P]


def test_what_was_read_without_gradients_is_read_again_for_the_update(step):
    ours, _, (student, _) = step("full_kl", prompts=True, states=True, trained=())
    plain, _, _ = step("full_kl", prompts=False, states=False)
    assert student.images == [P] * 2
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_nothing_is_remembered_outside(student, teacher, renderings):
    prompts = Prompts([{}] * P, [""] * P, dict(renderings))
    kept = Encodings(student, prompts), [Encodings(teacher, prompts)]
    with suppress(KeyError), remembering(*kept):
        assert student.memory is not None
        assert teacher.memory is not None
        raise KeyError
    assert student.memory is None
    assert teacher.memory is None
