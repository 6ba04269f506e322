"""mix: a weighted sum of two strategies' losses, their names and carries kept apart, the parts
swapped like groups."""

from functools import partial

import pytest
import torch
from hydra import compose, initialize_config_dir

from gndpo.advantages.full_kl import full_kl
from gndpo.advantages.mix import mix
from gndpo.advantages.raw_kl import raw_kl
from gndpo.build import build_advantage, config_folder
from gndpo.errors import UserError
from gndpo.reads import dry_run
from gndpo.signal import Signal
from gndpo.surrogates import ppo

PPO = partial(ppo, clip_low=0.2, clip_high=0.2, dual_clip=None)


def close(actual, expected, atol=1e-12):
    torch.testing.assert_close(
        actual, torch.as_tensor(expected, dtype=torch.double), atol=atol, rtol=0
    )


def counter(scores, start):
    """Counts its steps in a carry."""
    count = scores.carry.get("count", torch.tensor(start)) + 1
    return Signal(count * scores.mask_BT.double(), carry={"count": count})


@pytest.fixture
def off_policy(dense):
    """A batch, and current logits away from the old ones, so that PPO clips."""
    views = dense(seed=1)
    moved = views.logits["student"] + 0.3 * dense(seed=2).logits["student"]
    return views, views.logits | {"student": moved}


@pytest.mark.parametrize("alpha", [0.3, 0.0, 1.0])
def test_shipped_mix_is_reinforcement_and_steering(make_strategy, outcome, off_policy, alpha):
    """(1 - alpha) GRPO, clipped by the surrogate, + alpha VGS without eta: values and gradients."""
    views, current = off_policy
    run = partial(outcome, logits=views.logits, current=current, surrogate=PPO, **views.batch)
    both = run(make_strategy("mix", alpha=alpha))
    reward, steering = run(make_strategy("grpo")), run(make_strategy("decomposed", eta=1.0))
    assert reward.loss.clipped > 0
    expected = (1 - alpha) * reward.value + alpha * steering.value
    assert both.value == pytest.approx(expected, abs=1e-12)
    parts = (1 - alpha) * reward.gradients["student"] + alpha * steering.gradients["student"]
    close(both.gradients["student"], parts)
    close(both.gradients["student_text"], alpha * steering.gradients["student_text"])


def test_advantages_add_up(dense):
    scores = dense(seed=3).scores()
    R_BT = raw_kl(scores, clamp=None).advantage_BT
    clamped_BT = raw_kl(scores, clamp=1.0).advantage_BT
    parts = {"first": partial(raw_kl, clamp=None), "second": partial(raw_kl, clamp=1.0)}
    close(mix(scores, alpha=0.25, **parts).advantage_BT, 0.75 * R_BT + 0.25 * clamped_BT)


def test_parts_of_one_name_stay_apart(outcome, dense):
    """Twice the same kind: the names of matches and notes would clash."""
    views = dense(seed=4)
    forward, reverse = (partial(full_kl, direction=x) for x in ("forward", "reverse"))
    strategy = partial(mix, alpha=0.25, first=forward, second=reverse)
    assert dry_run(strategy, 40).whole == {"teacher"}
    done = outcome(strategy, views.logits, **views.batch)
    values = [outcome(x, views.logits, **views.batch).value for x in (forward, reverse)]
    assert done.loss.parts["first_teacher"] == pytest.approx(0.75 * values[0], abs=1e-12)
    assert done.loss.parts["second_teacher"] == pytest.approx(0.25 * values[1], abs=1e-12)
    twice = mix(views.scores(), alpha=0.5, first=forward, second=partial(raw_kl, clamp=1.0))
    assert twice.notes.keys() == {"second_clamped"}


def test_each_part_carries_its_own(dense):
    views = dense(seed=5)
    strategy = partial(
        mix, alpha=0.5, first=partial(counter, start=0), second=partial(counter, start=10)
    )
    once = strategy(views.scores())
    views.batch["carry"] = once.carry
    again = strategy(views.scores())
    assert {name: int(x) for name, x in once.carry.items()} == {
        "first_count": 1,
        "second_count": 11,
    }
    assert {name: int(x) for name, x in again.carry.items()} == {
        "first_count": 2,
        "second_count": 12,
    }
    close(again.advantage_BT, 7.0 * views.batch["mask"])


def test_a_share_is_a_share(make_strategy, dense):
    with pytest.raises(UserError, match="the share of the second strategy, must be in"):
        make_strategy("mix", alpha=1.5)(dense().scores())


def composed(*overrides):
    with initialize_config_dir(config_folder(), version_base="1.3"):
        return compose("train", overrides=list(overrides)).advantage


def test_knobs_of_the_parts_from_the_command_line():
    section = composed("advantage=mix", "advantage.alpha=0.5", "advantage.second.gamma=1.0")
    strategy = build_advantage(section)
    assert strategy.keywords["alpha"] == 0.5
    assert strategy.keywords["second"].keywords["gamma"] == 1.0
    misspelt = composed("advantage=mix", "+advantage.first.scales=1")
    with pytest.raises(UserError, match=r"advantage.first=grpo: unknown key 'scales'"):
        build_advantage(misspelt)


def test_parts_of_a_mix_of_ones_own_are_swapped_like_groups(tmp_path, dense):
    folder = tmp_path / "advantage"
    folder.mkdir()
    folder.joinpath("mine.yaml").write_text(
        "defaults:\n"
        "  - /advantage@first: grpo\n"
        "  - /advantage@second: full_kl\n"
        "  - _self_\n"
        "_target_: gndpo.advantages.mix.mix\n"
        "_partial_: true\n"
        "alpha: 0.25\n"
    )
    mine = [f"hydra.searchpath=[file://{tmp_path}]", "advantage=mine"]
    swapped = ["advantage@advantage.first=raw_kl", "advantage.first.clamp=1.0"]
    scores = dense(seed=6).scores()
    signal = build_advantage(composed(*mine, *swapped))(scores)
    close(signal.advantage_BT, 0.75 * raw_kl(scores, clamp=1.0).advantage_BT)
    assert [match.name for match in signal.matches] == ["second_teacher"]
    close(signal.matches[0].weight_BT, 0.25 * scores.mask_BT.double())
    reward = build_advantage(composed(*mine))(scores).advantage_BT
    assert (signal.advantage_BT - reward).abs().max() > 0.1
