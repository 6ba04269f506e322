"""Loggers after real runs: what W&B and TensorBoard hold is read back from their own files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gndpo import train
from tests.runs.conftest import Finished, Run

COLUMNS = ["step", "image", "prompt", "answer", "truth", "reward", "correct"]


def records(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of the only W&B run of a run folder, by type."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    reader = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(reader, capture_output=True, text=True, check=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for line in done.stdout.splitlines():
        record = json.loads(line)
        found.setdefault(record["type"], []).append(record.get(record["type"]))
    return found


def history(folder: Path) -> list[dict[str, Any]]:
    return [record["item"] for record in records(folder)["history"]]


def numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without media, and without what differs from run to run."""
    others = ("_", "time/", "figures/", "samples/")
    return [{k: v for k, v in row.items() if not k.startswith(others)} for row in rows]


def expected(done: Finished) -> list[dict[str, Any]]:
    """metrics.jsonl and eval.jsonl, a row per step."""
    rows: dict[int, dict[str, Any]] = {}
    for row in done.rows():
        rows.setdefault(row["step"], {}).update(row)
    for row in done.rows("eval.jsonl"):
        which = row["split"] if row["model"] == "student" else "teacher"
        measures = {f"{k}/{which}": x for k, x in row.items() if k.startswith("eval/")}
        rows.setdefault(row["step"], {"step": row["step"]}).update(measures)
    return numbers([rows[step] for step in sorted(rows)])


def stopped_after_three(done: Finished) -> None:
    """As if the run had been killed while it wrote its fourth row; its checkpoint is of step 2."""
    metrics = done.folder / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join(lines[:3]) + "\n" + lines[3][:40])
    status = done.folder / "run.json"
    status.write_text(status.read_text().replace("completed", "running"))
    shutil.rmtree(done.folder / "checkpoints" / "step-0000004")


def test_wandb_holds_one_row_per_step(run: Run) -> None:
    done = run("logger=wandb")
    assert done.code == 0, done.err
    rows = history(done.folder)
    assert [row["_step"] for row in rows] == [0, 1, 2, 3]
    assert numbers(rows) == [pytest.approx(row) for row in expected(done)]
    defined = {
        metric.get("name") or metric["glob_name"]: metric
        for metric in records(done.folder)["metric"]
    }
    assert defined["*"]["step_metric"] == "step"
    for name in ("eval/acc_1/validation", "grad/norm"):
        assert defined[name]["summary"] == {"last": True, "max": True, "min": True}


def test_wandb_knows_what_was_run(run: Run) -> None:
    done = run("advantage=gndpo", "advantage.clamp=2", "logger=wandb", "sweep=mine")
    (opened, *_) = records(done.folder)["run"]
    assert opened["run_group"] == "mine"
    assert opened["tags"] == ["gndpo"]
    assert opened["display_name"].startswith("gndpo, model=checkpoints")
    config = opened["config"]["update"]
    assert config["advantage"]["clamp"] == 2
    assert config["data"]["prompts"] == 4
    assert config["strategy"] == "gndpo"
    assert config["git_commit"] == done.status["git_commit"]
    assert opened["run_id"] == done.status["wandb"]


def test_wandb_shows_samples_with_images_and_figures(run: Run) -> None:
    """On the schedule of diagnose, here at steps 1 and 3; the images lie in the run folder."""
    done = run("logger=wandb")
    kept = [row for row in done.rows("samples.jsonl") if "images" in row]
    assert {row["step"] for row in kept} == {1, 3}
    tables = sorted(done.folder.glob("wandb/offline-*/files/media/table/samples/*.json"))
    shown = [json.loads(file.read_text()) for file in tables]
    assert [table["columns"][:7] for table in shown] == [COLUMNS] * 2
    rows = [row for table in shown for row in table["data"]]
    assert sorted(row[0] for row in rows) == [1, 1, 3, 3]
    tokens = kept[0]["tokens"]
    pairs = zip(tokens["teacher"], tokens["student"], strict=True)
    extreme = max((teacher - student for teacher, student in pairs), key=abs)
    assert [row[8] for row in rows if row[0] == 1][:1] == [pytest.approx(extreme, abs=1e-3)]
    manifests = [record["manifest"]["contents"] for record in records(done.folder)["artifact"]]
    images = [Path(x["local_path"]) for files in manifests for x in files if "images" in x["path"]]
    assert len(images) >= 2
    assert all(file.is_relative_to(done.folder) for file in images)
    assert Image.open(images[0]).size[0] > 8
    last = history(done.folder)[-1]
    (run_files,) = done.folder.glob("wandb/offline-*/files")
    for name in ("log_ratio", "advantage"):
        assert Image.open(run_files / last[f"figures/{name}.path"]).size == (700, 400)


def test_a_continued_run_is_one_run_without_gaps_or_doubled_rows(run: Run) -> None:
    loggers = "logger=[wandb,tensorboard]"
    common = ("steps=4", "checkpoint.every=2", loggers)
    done = run(*common)
    first = records(done.folder)["run"][0]["run_id"]
    whole = numbers(history(done.folder))
    stopped_after_three(done)
    again = run(*common, "ckpt=last")
    assert again.code == 0, again.err
    assert numbers(history(again.folder)) == whole
    assert records(again.folder)["run"][0]["run_id"] == first
    assert scalars(again.folder)["grad/norm"] == [
        (row["step"], pytest.approx(row["grad/norm"], rel=1e-6)) for row in again.rows()
    ]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's numbers: tag -> (step, value)."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        tag: [(point.step, point.value) for point in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_holds_the_same_numbers(run: Run) -> None:
    done = run("logger=tensorboard")
    assert done.code == 0, done.err
    found = scalars(done.folder)
    for row in expected(done):
        for name in row.keys() - {"step"}:
            assert dict(found[name])[row["step"]] == pytest.approx(row[name], rel=1e-6)
    assert not (done.folder / "wandb").exists()


def test_without_a_logger_the_run_folder_is_all(run: Run) -> None:
    done = run("logger=none")
    assert done.code == 0, done.err
    assert not {"wandb", "tensorboard"} & {path.name for path in done.folder.iterdir()}
    assert len(done.rows()) == 3


def test_a_run_that_fails_is_marked_as_failed(run: Run) -> None:
    done = run("logger=wandb", "data.max_prompt_tokens=5")
    assert done.code != 0
    (end,) = records(done.folder)["exit"]
    assert end["exit_code"] == 1


def test_online_without_a_login_is_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    done = run("logger=wandb_online")
    assert done.code != 0
    assert "type `wandb login` once, or leave logger=wandb" in done.err
    assert "Traceback" not in done.err


def test_a_whole_sweep_is_synced_by_one_command(
    command: Any, small: list[str], tmp_path: Path
) -> None:
    """The command of docs/logging.md, with --dry-run."""
    folders = [f"hydra.sweep.dir={tmp_path}/mine", "hydra.sweep.subdir=${seed}"]
    code, err = command(train.main, "-m", *small, "steps=1", "seed=0,1", "logger=wandb", *folders)
    assert code == 0, err
    runs = [str(folder) for folder in tmp_path.glob("mine/*/wandb/offline-run-*")]
    sync = [sys.executable, "-m", "wandb", "sync", "--dry-run", *runs]
    done = subprocess.run(sync, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Would sync 2 run(s)" in done.stderr + done.stdout
