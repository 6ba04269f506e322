"""What loggers are told: names, tags, no secrets, one row per step, images that come back."""

import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from gndpo.folders import config_folder
from gndpo.loggers.description import description, run_name, tags
from gndpo.loggers.figures import draw
from gndpo.loggers.mirror import Tail, by_step, pictured
from gndpo.loggers.pictures import decoded, encoded
from gndpo.metric_names import METRICS
from gndpo.secrets import without_secrets

TOLD = {"strategy": "gndpo", "experiment": None, "overrides": [], "seed": 3}


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({}, "gndpo, seed=3"),
        ({"overrides": ["advantage=gndpo", "seed=3", "sweep=mine"]}, "gndpo, seed=3"),
        ({"overrides": ["advantage.clamp=2", "+x=1"]}, "gndpo, clamp=2, x=1, seed=3"),
        (
            {"overrides": ["experiment=stress", "logger.wandb.project=a"], "experiment": "stress"},
            "gndpo, experiment=stress, seed=3",
        ),
        (
            {"strategy": "full_kl", "experiment": "methods/gkd", "overrides": ["steps=9"]},
            "gkd, steps=9, seed=3",
        ),
        (
            {"experiment": "methods/gkd", "overrides": ["experiment=methods/gkd", "advantage=mix"]},
            "gkd, advantage=mix, seed=3",
        ),
    ],
)
def test_a_name_tells_presets_and_overrides_apart(told: dict, name: str) -> None:
    assert run_name(TOLD | told) == name


def test_a_name_is_never_longer_than_wandb_takes() -> None:
    assert len(run_name(TOLD | {"overrides": [f"data.rows.source={'x' * 300}"]})) == 120


def test_tags_are_the_strategy_and_the_preset() -> None:
    assert tags(TOLD) == ["gndpo"]
    assert tags(TOLD | {"experiment": "methods/gkd"}) == ["gndpo", "gkd"]
    assert tags(TOLD | {"experiment": "methods/gndpo"}) == ["gndpo"]


def test_secrets_are_hidden_and_nothing_else() -> None:
    told = {
        "hub": {"token": "t", "api_key": "k", "password": None, "source": "s3://me:pw@host/x"},
        "rollout": {"max_tokens": 16, "tokens": [1, 2]},
        "overrides": ["+hub.token=t", "rollout.max_tokens=16"],
    }
    assert without_secrets(told) == {
        "hub": {"token": "***", "api_key": "***", "password": None, "source": "s3://***@host/x"},
        "rollout": {"max_tokens": 16, "tokens": [1, 2]},
        "overrides": ["+hub.token=***", "rollout.max_tokens=16"],
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("+a={token: S, b: 1}", "+a={token: ***, b: 1}"),
        ("+a={api_keys: [S, S], b: 1}", "+a={api_keys: ***, b: 1}"),
        ("+a={password: 'S,S', b: 1}", "+a={password: ***, b: 1}"),
        ("https://h/x?a=1&token=S&b=2", "https://h/x?a=1&token=***&b=2"),
        ("https://u:S@h/x?token=S", "https://***@h/x?token=***"),
        ("teacher.headers={Authorization: Bearer S}", "teacher.headers={Authorization: ***}"),
        ("+a={auth: {user: S, key: S}, b: 1}", "+a={auth: ***, b: 1}"),
        ("{password: S, hub_token=S}", "{password: ***, hub_token=***"),
        ("+hub.authToken=S", "+hub.authToken=***"),
        ("env.HF_TOKENS=S", "env.HF_TOKENS=***"),
        ("s3://u:p@S@h/x", "s3://***@h/x"),
        ("http://u:S@h,http://v:S@g", "http://***@h,http://***@g"),
    ],
)
def test_secrets_within_a_text_are_hidden(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


SECRETS = (
    *("token", "hf_token", "HF_TOKENS", "api_keys", "apiKey", "private_key", "authToken"),
    *("auth", "Authorization", "secrets", "passwords", "x-api-key", "secret_access_key"),
)


@pytest.mark.parametrize("key", SECRETS)
def test_a_secret_key_is_hidden_wherever_it_stands(key: str) -> None:
    assert without_secrets({"a": {key: ["S"]}}) == {"a": {key: "***"}}
    assert without_secrets([f"+a.{key}=S,S", f"{{{key}: S}}"]) == [
        f"+a.{key}=***",
        f"{{{key}: ***}}",
    ]


@pytest.mark.parametrize(
    "key", ["max_tokens", "maxTokens", "tokens_per_s", "updates.tokens", "author", "keys"]
)
def test_counts_of_tokens_stay_visible(key: str) -> None:
    told = [{key: 16}, f"{key}=16", f"+a={{{key}: 16}}"]
    assert without_secrets(told) == told


def test_nothing_of_the_configuration_is_hidden() -> None:
    with initialize_config_dir(config_folder(), version_base="1.3"):
        cfg = compose("train", ["sweep=x", "model=checkpoints", "data=geometry3k"])
    told = OmegaConf.to_container(cfg)
    assert without_secrets(told) == told


def test_a_description_is_the_resolved_configuration_and_where_it_ran() -> None:
    cfg = OmegaConf.create({"seed": 1, "data": {"seed": "${seed}"}})
    status = {"strategy": "gndpo", "git_commit": "abc", "experiment": None, "status": "running"}
    assert description(cfg, status) == {
        "seed": 1,
        "data": {"seed": 1},
        "strategy": "gndpo",
        "git_commit": "abc",
    }


def test_a_step_is_one_row_and_the_teacher_has_a_name_of_its_own() -> None:
    label = {"step": 2, "n": 4, "k": 1}
    evaluations = [
        {**label, "model": "student", "split": "test", "eval/acc_1": 0.25},
        {**label, "model": "teacher", "split": "test", "eval/acc_1": 1.0},
        {**label, "step": 0, "model": "student", "split": "validation", "eval/acc_1": 0.5},
    ]
    assert by_step([{"step": 2, "grad/norm": 3.0}], evaluations) == {
        0: {"eval/acc_1/validation": 0.5},
        2: {"grad/norm": 3.0, "eval/acc_1/test": 0.25, "eval/acc_1/teacher": 1.0},
    }


def test_a_tail_gives_every_row_once(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    tail = Tail(file)
    assert tail.rows() == []
    for step in (1, 2):
        with file.open("a") as opened:
            opened.write(json.dumps({"step": step}) + "\n")
        assert tail.rows() == [{"step": step}]
    assert tail.rows() == []
    assert Tail(file).rows() == [{"step": 1}, {"step": 2}]


def test_only_samples_with_images_are_shown() -> None:
    kept = {"step": 1, "images": []}
    assert pictured([kept, {"step": 2}]) == {1: [kept]}


@pytest.mark.parametrize(("size", "kept"), [((30, 20), (30, 20)), ((448, 112), (224, 56))])
def test_an_image_comes_back_no_larger_than_a_log_needs(size: tuple, kept: tuple) -> None:
    back = decoded(encoded(Image.new("RGB", size, (10, 20, 30))))
    assert back.size == kept
    assert back.getpixel((0, 0)) == (10, 20, 30)


def test_a_small_image_comes_back_exactly_and_a_large_one_is_left_as_it_was() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 20, 3), dtype=np.uint8))
    assert decoded(encoded(noise)).tobytes() == noise.tobytes()
    wide = Image.new("RGB", (896, 100))
    assert decoded(encoded(wide)).size == (224, 25)
    assert wide.size == (896, 100)


def test_the_figures_draw_the_quantiles_that_a_run_has() -> None:
    """Every band reaches from its lower to its upper quantile; all are metrics that exist."""
    names = [name for name in METRICS if name.startswith(("teacher/log_ratio_", "advantage/"))]
    rows = [{"step": step, **dict.fromkeys(names, 0.0)} for step in (1, 2)]
    rows[0] |= {"teacher/log_ratio_min": -7.0, "teacher/log_ratio_max": 9.0}
    rows[1] |= {"teacher/log_ratio_p99": 3.0, "advantage/p50": 2.0}
    figures = draw(rows)
    assert sorted(figures) == ["advantage", "log_ratio"]
    (axes,) = figures["log_ratio"].axes
    reach = [band.get_datalim(axes.transData) for band in axes.collections]
    assert [(box.y0, box.y1) for box in reach] == [(-7, 9), (0, 3), (0, 0), (0, 0)]
    assert figures["advantage"].axes[0].lines[0].get_ydata().tolist() == [0.0, 2.0]
