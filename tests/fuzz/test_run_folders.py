"""Whatever became of a run's files, reports and run folders read the rest or say in one sentence
which file is broken."""

import io
import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from rich.console import Console

from gndpo import checkpoints, train
from gndpo.errors import UserError
from gndpo.evaluate import run_config
from gndpo.report import cli, table
from gndpo.report.load import find_runs
from gndpo.runfolder import RunFolder
from tests.fuzz.conftest import Fuzz, sentence_or
from tests.runs.conftest import pair, small

__all__ = ["pair", "small"]

READ = ("run.json", "metrics.jsonl", "eval.jsonl", "samples.jsonl", ".hydra/config.yaml")
ODD = st.one_of(
    st.sampled_from([None, True, "x", "", [], {}, [1], {"a": 1}, -1, 0.5, 10**400, "\ud800"]),
    st.sampled_from([float("nan"), float("inf"), 2**70, "NaN", "1e9", "<script>", "\x00"]),
)


@pytest.fixture(scope="module")
def original(pair: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run with a checkpoint."""
    folder = tmp_path_factory.mktemp("original") / "run"
    arguments = [
        *("model=checkpoints", *(f"model.pair.{which}={path}" for which, path in pair.items())),
        *("logger=none", "steps=4", "prompts=2", "rollout.group=2", "rollout.max_tokens=4"),
        *("eval.validation=2", "eval.test=2", "eval.k=0", "eval.every=2", "diagnose.every=2"),
        *("schedule.warmup=1", "advantage=gndpo", f"hydra.run.dir={folder}"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gndpo-train", *arguments])
        train.main()
    return folder


@st.composite
def damage(draw: Any) -> tuple[str, list[tuple[str, Any]]]:
    """A file, and what happens to it."""
    kinds = st.one_of(
        st.tuples(st.just("cut"), st.floats(0, 1)),
        st.tuples(st.just("flip"), st.tuples(st.floats(0, 0.999), st.integers(1, 255))),
        st.tuples(st.just("value"), st.tuples(st.integers(0, 9**9), ODD)),
        st.tuples(st.just("lose"), st.integers(0, 9**9)),
        st.tuples(
            st.just("all"), st.sampled_from([b"", b"\n", b"null", b"[]", b"{}", b"\xff\xfe"])
        ),
        st.tuples(st.just("insert"), st.sampled_from([b"\n", b"{}\n", b"3\n", b"\x00", b"null\n"])),
    )
    return draw(st.sampled_from(READ)), draw(st.lists(kinds, min_size=1, max_size=2))


def damaged(name: str, content: bytes, how: str, which: Any) -> bytes:
    if how == "cut":
        return content[: int(which * len(content))]
    if how == "flip" and content:
        at = int(which[0] * len(content))
        return content[:at] + bytes([content[at] ^ which[1]]) + content[at + 1 :]
    if how == "all":
        return bytes(which)
    if how == "insert":
        lines = content.splitlines(keepends=True)
        return b"".join([*lines[: len(lines) // 2], which, *lines[len(lines) // 2 :]])
    return content if name.endswith(".yaml") else other_value(content, how, which)


def other_value(content: bytes, how: str, which: Any) -> bytes:
    """One of the values of one of the rows is another, or gone; run.json is one row."""
    number = which[0] if how == "value" else which
    try:
        rows = [json.loads(line) for line in content.splitlines()]
        whole = False
    except ValueError:
        whole = True
    try:
        rows = [json.loads(content)] if whole else rows
        row = rows[number % len(rows)]
        key = sorted(row)[number // 7 % len(row)]
    except (ValueError, ZeroDivisionError, TypeError, AttributeError):
        return content  # broken already
    if how == "value":
        row[key] = which[1]
    else:
        del row[key]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def copied(original: Path, to: Path, case: tuple[str, Any]) -> Path:
    """Runs of two seeds, the second one damaged."""
    name, harm = case
    shutil.rmtree(to, ignore_errors=True)
    for which in ("one", "two"):
        (to / which / ".hydra").mkdir(parents=True)
        for file in READ:
            (to / which / file).write_bytes((original / file).read_bytes())
    content = (original / name).read_bytes()
    for how, what in harm:
        content = damaged(name, content, how, what)
    (to / "two" / name).write_bytes(content)
    return to


def read_all(folder: Path) -> None:
    report = cli.build(find_runs([folder]))
    cli.show(report, Console(file=io.StringIO(), width=200))
    cli.as_markdown(report, [])
    table.as_csv(report.rows)


def test_a_report_says_what_is_broken(original: Path, tmp_path: Path, fuzz: Fuzz) -> None:
    def holds(case: tuple[str, Any]) -> None:
        folder = copied(original, tmp_path / "runs", case)
        sentence_or(read_all, folder)
        run = RunFolder(folder / "two")
        for look in (run.status, lambda: run_config(run), lambda: run.drop_after(2)):
            sentence_or(look)

    fuzz(damage(), holds)


def test_the_page_and_the_grid_too(original: Path, tmp_path: Path, fuzz_less: Fuzz) -> None:
    def holds(case: tuple[str, Any]) -> None:
        folder = copied(original, tmp_path / "runs", case)
        with suppress(SystemExit):  # after its sentence
            cli.main([str(folder), "--html", "--grid", "advantage", "optimizer.lr"])

    fuzz_less(damage(), holds)


def test_a_checkpoint_is_read_or_named(original: Path, tmp_path: Path, fuzz: Fuzz) -> None:
    found = checkpoints.found(original / "checkpoints")
    whole = found[max(found)]
    files = sorted(file for file in whole.iterdir() if file.is_file())

    def holds(case: tuple[int, list[tuple[str, Any]]]) -> None:
        file = files[case[0] % len(files)]
        folder = tmp_path / "step"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        content = file.read_bytes()
        for how, what in case[1]:
            content = damaged(".yaml", content, how, what)
        (folder / file.name).write_bytes(content)
        for name in ("student", "optimizer", "carry"):
            sentence_or(checkpoints.read, folder / f"{name}.safetensors")
        sentence_or(checkpoints.load_state, folder)
        checkpoints.trouble_of(folder)

    harm = damage().map(lambda x: x[1])
    fuzz(st.tuples(st.integers(0, 99), harm), holds)


def test_a_missing_file_is_a_sentence(original: Path, tmp_path: Path) -> None:
    for name in READ:
        folder = copied(original, tmp_path / "runs", (name, []))
        (folder / "two" / name).unlink()
        sentence_or(read_all, folder)


def test_a_text_in_place_of_an_accuracy_is_left_out(original: Path, tmp_path: Path) -> None:
    folder = copied(original, tmp_path / "runs", ("eval.jsonl", []))
    file = folder / "two" / "eval.jsonl"
    rows = [json.loads(line) | {"eval/acc_1": "many"} for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read_all(folder)
    with pytest.raises(UserError):
        find_runs([tmp_path / "nothing"])
