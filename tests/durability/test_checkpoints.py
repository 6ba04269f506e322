"""Checkpoints are whole, the last ones and the best are kept, and one that cannot be read is
passed over."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from gndpo import checkpoints, disk, evaluate
from gndpo.errors import UserError
from gndpo.runfolder import RunFolder
from tests.durability.conftest import GATE, left, pretend_killed, saved
from tests.runs.conftest import Run


def write(folder: Path, step: int, size: int = 3) -> Path:
    x = {"x": torch.arange(float(size))}
    return checkpoints.save(folder / "checkpoints", step, x, x, {}, {"updates": step}, {})


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in range(1, 8):
        write(tmp_path, step)
        checkpoints.prune(tmp_path / "checkpoints", step, keep=2, best=3 if step >= 3 else 1)
    assert saved(tmp_path) == [3, 6, 7]


def test_what_could_not_be_read_is_not_counted_among_the_last(tmp_path: Path) -> None:
    """A run that went back from step 6 to 3 keeps what it can continue from."""
    for step in (3, 6):
        write(tmp_path, step)
    checkpoints.prune(tmp_path / "checkpoints", 3, keep=1, best=None)
    assert saved(tmp_path) == [3, 6]


def test_halves_are_no_checkpoints_and_go(tmp_path: Path) -> None:
    whole = write(tmp_path, 1)
    half = whole.parent / ".step-0000002"
    half.mkdir()
    (half / "state.json").write_text("{")
    assert checkpoints.newest(whole.parent) == (whole, [])
    checkpoints.prune(whole.parent, 1, keep=1, best=None)
    assert list(whole.parent.iterdir()) == [whole]


def test_the_best_is_the_first_highest_of_the_student_on_validation() -> None:
    rows = [
        {"step": step, "model": model, "split": split, "n": 4, "eval/acc_1": x, "eval/blind": -x}
        for step, model, split, x in [
            (0, "student", "validation", 0.9),  # before training: no checkpoint has it
            (0, "teacher", "test", 1.0),
            (2, "student", "validation", 0.5),
            (4, "student", "validation", 0.6),
            (6, "student", "validation", 0.6),
            (6, "student", "test", 0.8),
        ]
    ]
    assert checkpoints.best_step(rows, "eval/acc_1") == 4
    assert checkpoints.best_step(rows, "eval/blind") == 2
    assert checkpoints.best_step(rows[:2], "eval/acc_1") is None
    with pytest.raises(UserError, match="choose one of eval/acc_1, eval/blind, or null"):
        checkpoints.best_step(rows, "eval/acc_2")


def test_no_rows_to_validate_on_means_no_best() -> None:
    row = {"step": 3, "model": "student", "split": "validation", "n": 0}
    assert checkpoints.best_step([row], "eval/acc_1") is None


def test_all_files_are_on_the_disk_before_their_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    rename = Path.rename
    monkeypatch.setattr(checkpoints, "synced", lambda path: order.append(path.name))
    monkeypatch.setattr(
        Path, "rename", lambda path, to: (order.append(f"rename {path.name}"), rename(path, to))[1]
    )
    path = write(tmp_path, 1)
    files = sorted(file.name for file in path.iterdir())
    assert sorted(order[: len(files)]) == files
    assert order[len(files) :] == [".step-0000001", "rename .step-0000001", "checkpoints"]


def test_synced_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = []
    monkeypatch.setattr(os, "fsync", lambda number: reached.append(os.fstat(number).st_ino))
    disk.synced(tmp_path)
    assert reached == [tmp_path.stat().st_ino]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """bytes: as on a disk that is full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [40, 2000])
def test_no_room_is_one_sentence_and_the_one_before_stays(tmp_path: Path, size: int) -> None:
    """The limit cuts the weights, or, where they fit, nothing but the optimizer."""
    before = write(tmp_path, 1)
    with files_of_at_most(size), pytest.raises(UserError, match=r"cannot write .*make room"):
        write(tmp_path, 2, size=1000)
    assert list(before.parent.iterdir()) == [before]
    assert checkpoints.newest(before.parent) == (before, [])


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


DAMAGES = {
    "4/student.safetensors": cut,
    "3/state.json": lambda file: file.write_text('{"step": 3'),
    "2/optimizer.safetensors": Path.unlink,
}


def test_a_run_falls_back_to_the_last_one_that_can_be_read(run: Run) -> None:
    often = ("steps=4", "checkpoint.every=1", "checkpoint.keep=4", GATE)
    whole = run(*often, name="whole")
    done = run(*often)
    for place, damage in DAMAGES.items():
        damage(done.folder / "checkpoints" / f"step-000000{place}")
    pretend_killed(done.folder)
    newest, troubles = checkpoints.newest(done.folder / "checkpoints")
    assert newest is not None
    assert newest.name == "step-0000001"
    assert [trouble[:27] for trouble in troubles] == [
        f"step-000000{step} cannot be read" for step in (4, 3, 2)
    ]
    again = run(*often, "ckpt=last")
    assert again.code == 0, again.err
    (line,) = [line for line in again.err.splitlines() if "cannot be read" in line]
    assert line.endswith("; continuing from step-0000001")
    assert line.count("cannot be read") == 3
    assert left(again.folder) == left(whole.folder)


def test_where_none_can_be_read_a_run_starts_anew(run: Run) -> None:
    whole = run(name="whole")
    done = run()
    for folder in (done.folder / "checkpoints").iterdir():
        (folder / "carry.safetensors").write_bytes(b"")
    pretend_killed(done.folder)
    again = run("ckpt=last")
    assert again.code == 0, again.err
    assert "; starting anew, there is no other" in again.err
    assert left(again.folder) == left(whole.folder)


def test_the_best_evaluation_is_a_checkpoint(run: Run) -> None:
    done = run("steps=4", "eval.every=1", "checkpoint.keep=1", "checkpoint.best=eval/length")
    rows = [row for row in done.rows("eval.jsonl") if row["step"] and row["split"] == "validation"]
    best = max(rows, key=lambda row: row["eval/length"])["step"]
    assert saved(done.folder) == sorted({best, 4})
    assert done.status["best"] == evaluate.chosen_step(RunFolder(done.folder), "best") == best


def test_a_measure_that_is_none_is_refused_before_the_first_step(run: Run) -> None:
    done = run("checkpoint.best=eval/acc")
    assert done.code == 1
    assert "checkpoint.best=eval/acc is unknown; choose one of eval/acc_1, " in done.err
    assert not done.rows()
