"""What is mistyped on a command line is one sentence that says what was meant."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gndpo import evaluate, train
from gndpo.console import console
from gndpo.mistakes import sentence
from tests.runs.conftest import command

__all__ = ["command"]

SENTENCES = {
    "optimizer.lrr=1": "optimizer.lrr: there is no such key; did you mean optimizer.lr?",
    "advantage.gama=2": "advantage.gama: there is no such key; advantage has clamp",
    "experimnt=demo": "experimnt: there is no such key; did you mean experiment?",
    "seed.x=1": "seed.x: there is no such key; seed has no keys",
    "advantage=gndpoo": (
        "advantage=gndpoo: there is no such option; did you mean advantage=gndpo or advantage=grpo?"
    ),
    "experiment=nope": (
        "experiment=nope: there is no such option; choose one of demo, gndpo_ladder, quickstart, "
        "quickstart_gpu, stress"
    ),
    "experiment=gkd": (
        "experiment=gkd: there is no such option; did you mean experiment=methods/gkd?"
    ),
    "hydra/launcher=job_lib": (
        "hydra/launcher=job_lib: there is no such option; did you mean hydra/launcher=joblib?"
    ),
    "seed=[": (
        "seed=[ cannot be read; type key=value, and a value that has spaces or signs in quotes: "
        "'key=\"a, b\"'"
    ),
    "advantage=1": (
        "no configuration can be composed from what was typed: Config group override must be a "
        "string or a list. Got int; type <group>=<option> or <key>=<value>"
    ),
    "~nope": "Could not delete from config. 'nope' does not exist.",
    "hydra.job.chdir=abc": (
        "Error merging override hydra.job.chdir=abc Value 'abc' is not a valid bool (type str)"
    ),
}


@pytest.mark.parametrize("typed", SENTENCES)
def test_a_mistake_in_a_line_is_one_sentence(command: Any, typed: str) -> None:
    code, err = command(train.main, "--cfg", "job", typed)
    assert (code, err) == (1, f"{SENTENCES[typed]}\n")


def test_the_keys_at_the_top_are_listed(command: Any) -> None:
    code, err = command(train.main, "--cfg", "job", "foo=1")
    assert code == 1
    assert err.startswith("foo: there is no such key; the configuration has model, data, ")
    assert "hydra" not in err


@pytest.mark.parametrize("typed", ["optimizer.lrr=1", "seed=["])
def test_a_sweep_says_the_same(command: Any, tmp_path: Path, typed: str) -> None:
    assert command(train.main, "-m", f"hydra.sweep.dir={tmp_path}", typed) == (
        1,
        f"{SENTENCES[typed]}\n",
    )
    assert not [*tmp_path.iterdir()]


def test_a_sweep_with_an_option_that_does_not_exist_starts_no_job(
    command: Any, tmp_path: Path
) -> None:
    code, err = command(train.main, "-m", f"hydra.sweep.dir={tmp_path}", "advantage=tanh,gndpoo")
    assert code == 1
    assert err.splitlines() == [f"{tmp_path}: 0 of 2 jobs finished", SENTENCES["advantage=gndpoo"]]


def test_other_commands_say_it_too(command: Any) -> None:
    code, err = command(evaluate.main, "benchmark=mathvista")
    assert code == 1
    assert "did you mean benchmark=mathvista_mini" in err


def test_hydras_own_variable_still_gives_the_traceback(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    code, err = command(train.main, "--cfg", "job", "optimizer.lrr=1")
    assert code == 1
    assert "Traceback (most recent call last)" in err
    assert "ConfigCompositionException: Could not override 'optimizer.lrr'." in err


def test_who_did_not_ask_gets_no_traceback_from_a_command_that_was_started_either() -> None:
    inner = "from gndpo.tables.cli import main; main()"
    outer = (
        "import subprocess, sys; from gndpo.console import console;"
        f"command = [sys.executable, '-c', {inner!r}, '--cfg', 'job', 'a=1'];"
        "console(lambda: subprocess.run(command))()"
    )
    done = subprocess.run([sys.executable, "-c", outer], capture_output=True, text=True)
    assert done.stderr.startswith("a: there is no such key; ")
    assert len(done.stderr.splitlines()) == 1


def test_a_fault_of_the_program_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert sentence(KeyError("x")) is None
    with pytest.raises(SystemExit) as stop:
        console(lambda: json.loads("{"))()
    assert stop.value.code == 1
    assert "JSONDecodeError: Expecting property name" in capsys.readouterr().err
