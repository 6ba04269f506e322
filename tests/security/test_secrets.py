"""Secrets are planted where they come from, the command line and the environment; then every byte
that a command left is searched for them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gndpo import evaluate, train
from gndpo.arguments import folder_name
from gndpo.console import console
from gndpo.models.digits import build_processor
from gndpo.report import cli
from gndpo.secrets import TYPED, hidden, known, remember, without_secrets

TYPED_ONE, LOGIN, NAMED, KEY = "tYpEd-0ne", "u5er:pa55word", "enV-pl4nted", "hf_" + "aB3" * 11
PLANTED = (TYPED_ONE, LOGIN, NAMED, KEY)
GIVEN = (
    f"+model.template_arguments={{api_key: {TYPED_ONE}}}",
    f"cache_dir='https://{LOGIN}@host/{KEY}'",
    "model.pair.teacher=${oc.env:LAB_TOKEN}",
    "model.chat_template=${oc.env:TEMPLATE}",
)


SHOWN = (
    "logger=wandb",
    "logger.wandb.project=${oc.env:WANDB_API_KEY}",
    "logger.wandb.entity=${oc.env:LAB_TOKEN}",
    f"logger.wandb.group='at https://{LOGIN}@host'",
    f"logger.wandb.tags=[{KEY},'{{token: {TYPED_ONE}}}']",
)
"""What W&B is told beside the configuration."""


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    """As in a new process."""
    TYPED.clear()


@pytest.fixture
def planted(pair: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The value of the variable is a checkpoint, so that the run goes well."""
    link = tmp_path / NAMED
    link.symlink_to(pair["teacher"])
    monkeypatch.setenv("LAB_TOKEN", str(link))
    template = build_processor().chat_template + "{% if api_key %}{% endif %}"
    (tmp_path / "asks.jinja").write_text(template)
    monkeypatch.setenv("TEMPLATE", str(tmp_path / "asks.jinja"))
    monkeypatch.setenv("WANDB_API_KEY", f"{TYPED_ONE}-w")


def holding(root: Path) -> list[tuple[str, str]]:
    """(file, secret) for every file below that holds one, in its name or in its bytes."""
    return [
        (str(file.relative_to(root)), secret)
        for file in root.rglob("*")
        for secret in PLANTED
        if secret in file.name or (file.is_file() and secret.encode() in file.read_bytes())
    ]


@pytest.mark.usefixtures("planted")
def test_a_run_keeps_none_and_is_still_the_same_run(run: Any) -> None:
    done = run(*GIVEN, *SHOWN)
    assert done.code == 0, done.err
    cli.main([str(done.folder), "--html"])
    again = run(*GIVEN, *SHOWN, "ckpt=last")
    assert again.code == 0, again.err
    assert "is finished already" in again.err
    assert not [secret for secret in PLANTED if secret in done.err + again.err]
    assert (done.folder / "report" / "report.html").exists()
    assert holding(done.folder) == []
    assert "***" in done.status["command"]
    assert "***" in (done.folder / ".hydra" / "config.yaml").read_text()


@pytest.mark.usefixtures("planted")
def test_what_a_command_says_holds_none(run: Any) -> None:
    failed = run(*GIVEN, f"+model.hf_token={TYPED_ONE}")
    assert failed.code == 1
    assert "unknown key 'hf_token'" in failed.err
    twisted = run(GIVEN[0], f"seed={TYPED_ONE}", name="b")
    assert twisted.status["reason"] == "data.seed=*** must be a whole number, 0 or larger"
    said = failed.err + twisted.err
    assert not [secret for secret in PLANTED if secret in said]
    assert holding(failed.folder) + holding(twisted.folder) == []


@pytest.mark.usefixtures("planted")
def test_a_sweep_keeps_none(small: list[str], command: Any, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    given = [x for x in small if not x.startswith("model.pair")]
    code, said = command(
        train.main, "-m", *given, *GIVEN, "model.pair.student=/nowhere", "seed=0,1",
        f"hydra.sweep.dir={sweep}",
    )  # fmt: skip
    assert code == 1
    assert holding(sweep) == []
    assert len(list(sweep.glob("*/run.json"))) == 2
    assert not [secret for secret in PLANTED if secret in said]


def test_a_sweep_that_cannot_be_composed_keeps_none(command: Any, tmp_path: Path) -> None:
    code, _ = command(
        train.main, "-m", f"+a.password={TYPED_ONE}", "advantage=gndpo,nothing",
        f"hydra.sweep.dir={tmp_path}",
    )  # fmt: skip
    assert code == 1
    assert (tmp_path / "multirun.yaml").exists()
    assert holding(tmp_path) == []


def test_a_sweep_of_evaluations_keeps_none(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its notes are elsewhere than the runs."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    given = ["-m", f"run={tmp_path}/none", f"+a.password={TYPED_ONE}", "seed=0,1"]
    code, said = command(evaluate.main, *given)
    assert code == 1
    assert "is not a run folder" in said
    assert (tmp_path / "gndpo-eval" / "multirun.yaml").exists()
    assert holding(tmp_path) == []


def test_nor_does_one_that_cannot_be_composed(tmp_path: Path) -> None:
    given = ["-m", f"+a.password={TYPED_ONE}", "benchmark=aime24,nothing"]
    command = [sys.executable, "-m", "gndpo.evaluate", *given]
    done = subprocess.run(command, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True)
    assert done.returncode == 1
    assert (tmp_path / "gndpo-eval" / "multirun.yaml").exists()
    assert holding(tmp_path) == []


def test_values_are_hidden_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_PASSWORD", "correct horse")
    monkeypatch.setenv("LAB_TOKENS", "harmless")
    monkeypatch.setenv("OTHER_TOKEN", "short")
    assert hidden("a correct horse, harmless and short") == "a ***, harmless and short"
    remember(["x.api_key=abcdef,ghijkl", "y={token: 'mnopqr', z: stuvwx}", "z=yz0123"])
    text = "abcdef ghijkl mnopqr stuvwx yz0123"
    assert hidden(text) == "*** *** *** stuvwx yz0123"
    assert {"abcdef", "ghijkl", "mnopqr", "correct horse"} <= {*known()}
    assert without_secrets({"reason": ["at abcdef"]}) == {"reason": ["at ***"]}


def test_keys_are_known_by_how_they_begin() -> None:
    assert hidden(f"push with {KEY}, then hf_x and task-16-tokens-of-text") == (
        "push with ***, then hf_x and task-16-tokens-of-text"
    )


def test_no_folder_is_named_after_a_secret() -> None:
    assert folder_name(f"seed=1,x.token={TYPED_ONE}") == "seed=1,x.token=hidden"


def test_a_reader_that_leaves_is_no_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from gndpo.listing import main; main([])"],
        stdout=open_and_close(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.stderr == ""
    assert done.returncode == 1


def open_and_close() -> int:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_a_script_shows_its_text_and_hides_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", f"a.token={TYPED_ONE}"])
    console(lambda: print(json.dumps(sys.argv)))()
    assert capsys.readouterr().out == '["x", "a.token=***"]\n'
