"""A disk that is full or cannot be written: one sentence, and what was written stays readable."""

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gndpo import train
from gndpo.module import Distillation
from gndpo.report.load import read_run
from gndpo.runfolder import RunFolder
from tests.durability.conftest import at_call, left, steps_of
from tests.runs.conftest import Run

SENTENCE = "make room or allow writing there, then continue with ckpt=last"


@pytest.fixture
def fill_up(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """fill_up(RunFolder, "append", call=5, size=900): from that call on no file may be longer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def arrange(owner: Any, name: str, *, call: int, size: Callable[[], int]) -> None:
        def fill() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size(), before[1]))

        monkeypatch.setattr(owner, name, at_call(getattr(owner, name), call, fill))

    monkeypatch.setattr(train, "close_loggers", room_again(train.close_loggers, before))
    return arrange


def room_again(function: Callable[[], None], limits: tuple[int, int]) -> Callable[[], None]:
    """Before the function: a test that is over writes, too."""

    def after() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        function()

    return after


def test_a_row_that_is_cut_off_is_dropped_and_written_again(
    run: Run, fill_up: Callable[..., None], tmp_path: Path
) -> None:
    whole = run("checkpoint.every=1", name="whole")
    metrics = tmp_path / "run" / "metrics.jsonl"
    fill_up(Distillation, "roll", call=3, size=lambda: metrics.stat().st_size + 100)
    full = run("checkpoint.every=1")
    assert full.code == 1
    assert f"cannot write {full.folder} (File too large); {SENTENCE}" in full.err
    assert "Traceback" not in full.err
    assert not metrics.read_bytes().endswith(b"\n")
    assert steps_of(full) == [1, 2]
    assert [row["step"] for row in read_run(full.folder).metrics] == [1, 2]
    again = run("checkpoint.every=1", "ckpt=last")
    assert again.code == 0, again.err
    assert left(again.folder) == left(whole.folder)


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(
    run: Run, fill_up: Callable[..., None]
) -> None:
    whole = run("checkpoint.every=1", "checkpoint.keep=1", name="whole")
    fill_up(Distillation, "save", call=2, size=lambda: 5000)
    full = run("checkpoint.every=1", "checkpoint.keep=1")
    assert full.code == 1
    assert SENTENCE in full.err
    assert [path.name for path in (full.folder / "checkpoints").iterdir()] == ["step-0000001"]
    again = run("checkpoint.every=1", "checkpoint.keep=1", "ckpt=last")
    assert again.code == 0, again.err
    assert left(again.folder) == left(whole.folder)


@pytest.mark.parametrize("where", ["hydra.run.dir=", "-m hydra.sweep.dir="])
def test_a_place_where_no_folder_can_be(command: Any, small: list[str], where: str) -> None:
    code, err = command(train.main, *f"{where}/proc/mine".split(), *small)
    assert code == 1
    assert f"cannot write /proc/mine (No such file or directory); {SENTENCE}" in err
    assert "Traceback" not in err


def test_a_folder_that_became_read_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("/.lock"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    done = run()
    assert done.code == 1
    assert f"cannot write {done.folder} (Read-only file system); {SENTENCE}" in done.err
    assert "Traceback" not in done.err


def test_no_half_of_a_status_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.write_status(status="running")

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left on device"):
        folder.write_status(status="completed")
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]
    assert folder.status()["status"] == "running"
