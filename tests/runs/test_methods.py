"""Every shipped method as a run; runs with foreign authors and with self-teachers continue bitwise
and are evaluated as they were trained."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from gndpo import evaluate, writers
from gndpo.build import config_folder
from gndpo.models.load import load_model
from gndpo.sweeps import expand_folders
from tests.runs.conftest import Finished, Run

METHODS = sorted(
    file.stem for file in (Path(config_folder()) / "experiment" / "methods").glob("*.yaml")
)
QUICK = ("eval.every=0", "eval.validation=1", "eval.test=1", "eval.k=0")
OWN = {"student": {1.0}, "blend": {1.0}, "teacher": {0.0}, "data": {0.0}}
"""Share of the tokens that the student writes, by who writes."""


def final(done: Finished, whose: str = "student", step: int = 4) -> dict[str, torch.Tensor]:
    return load_file(done.folder / f"checkpoints/step-{step:07d}/{whose}.safetensors")


def numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: x for key, x in row.items() if "time/" not in key} for row in rows]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_composes_and_steps(run: Run, method: str) -> None:
    done = run(f"experiment=methods/{method}", "steps=2", *QUICK)
    assert done.code == 0, done.err
    rows = done.rows()
    assert len(rows) == 2
    assert all(math.isfinite(value) for row in rows for value in row.values())
    cfg = OmegaConf.load(done.folder / ".hydra" / "config.yaml")
    own = {row["rollout/own"] for row in rows}
    writer = cfg.rollout.writer._target_.rsplit(".", 1)[-1]
    assert own == OWN[writer] if writer in OWN else any(share < 1 for share in own)
    untaught = cfg.advantage._target_.endswith(".grpo")  # and random answers earn nothing
    assert any(row["grad/norm"] > 0 for row in rows) or untaught


def test_a_folder_of_presets_is_a_sweep() -> None:
    given = ["-m", "experiment=glob(methods/*)", "seed=0,1", "advantage=glob(*)"]
    options = ",".join(f"methods/{method}" for method in METHODS)
    assert expand_folders(given) == ["-m", f"experiment={options}", "seed=0,1", "advantage=glob(*)"]
    assert len(METHODS) > 20
    steps = sorted(file.stem for file in Path(config_folder(), "advantage/gndpo_ladder").iterdir())
    (ladder,) = expand_folders(["advantage=glob(gndpo_ladder/*)"])
    assert ladder == "advantage=" + ",".join(f"gndpo_ladder/{step}" for step in steps)


@pytest.mark.parametrize(
    "overrides",
    [
        ("advantage=full_kl", "teacher=ema", "teacher.follow.rate=0.5", "rollout.rendering=text"),
        ("advantage=trust_region", "rollout=prefix"),
        ("advantage=full_kl", "teacher=adapter_off", "model.adapter={r:2}", "rollout=blend"),
        ("model.parts=[projector,language]", "model.dtype=bfloat16", "model.checkpointing=true"),
        ("advantage=full_kl", "updates.answers=1", "rollout.micro=3", "model.trains=teacher"),
    ],
    ids=lambda overrides: overrides[1],
)
def test_a_run_continues_bitwise(run: Run, overrides: tuple[str, ...]) -> None:
    common = (*overrides, "steps=4", "checkpoint.every=2", "optimizer.lr=0.01", *QUICK)
    whole = run(*common, name="whole")
    assert whole.code == 0, whole.err
    cut = whole.folder.with_name("cut")
    shutil.copytree(whole.folder, cut)
    status = cut / "run.json"
    status.write_text(status.read_text().replace("completed", "running"))
    shutil.rmtree(cut / "checkpoints/step-0000004")
    again = run(*common, "ckpt=last", name="cut")
    assert again.code == 0, again.err
    assert numbers(again.rows()) == numbers(whole.rows())
    for file in sorted((whole.folder / "checkpoints/step-0000004").glob("*.safetensors")):
        assert (again.folder / "checkpoints/step-0000004" / file.name).read_bytes() == (
            file.read_bytes()
        ), file.name


def test_a_moving_teacher_is_kept(run: Run, pair: dict[str, Path]) -> None:
    done = run("teacher=ema", "rollout.rendering=text", "optimizer.lr=0.01", *QUICK)
    assert done.code == 0, done.err
    start = dict(load_model(pair["student"]).named_parameters())
    ours, theirs = (final(done, whose, step=3) for whose in ("student", "teacher"))
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    x, y, z = start[name], theirs[name], ours[name]
    assert 0 < (y - x).norm() < (z - x).norm()


def test_a_student_that_teaches_itself_the_same_learns_nothing_at_first(run: Run) -> None:
    """No context, the same weights and pixels: no divergence but rounding."""
    alike = ("teacher=frozen", "advantage=full_kl", "diagnose.every=1", "steps=1")
    row = run(*alike, *QUICK).rows()[0]
    found = [row[f"teacher/{x}"] for x in ("kl", "log_ratio_min", "log_ratio_max")]
    assert found == pytest.approx([0, 0, 0], abs=1e-5)
    assert row["train/loss"] == pytest.approx(0, abs=1e-7)
    assert row["grad/norm"] == pytest.approx(0, abs=1e-6)
    context = 'teacher.context="{problem} sum"'
    told = ("teacher=frozen", "advantage=full_kl", "diagnose.every=1", "steps=1", context)
    row = run(*told, *QUICK, name="told").rows()[0]
    assert row["teacher/kl"] > 1e-3
    assert row["grad/norm"] > 1e-3


def test_a_self_teacher_is_evaluated_in_its_context(run: Run, command: Any) -> None:
    context = "{problem} sum {answer}"
    done = run("teacher=frozen", f'teacher.context="{context}"', "advantage=full_kl", "steps=1")
    assert done.code == 0, done.err
    cfg = evaluate.run_config(evaluate.RunFolder(done.folder))
    source, found, _, step = evaluate.load_reader(cfg, evaluate.RunFolder(done.folder), "teacher")
    assert (source.rendering, found, step) == ("privileged_image", context, 0)
    arguments = (f"run={done.folder}", "rows=4", "k=2", "checkpoint=teacher")
    code, err = command(evaluate.main, *arguments)
    assert code == 0, err
    measured = done.rows("evaluations.jsonl")[-1]
    before = next(row for row in done.rows("eval.jsonl") if row["model"] == "teacher")
    assert {key: measured[key] for key in before} == before
    assert not list((done.folder / "checkpoints").rglob("teacher.safetensors"))  # it does not move
    alone, plain, _, _ = evaluate.load_reader(cfg, evaluate.RunFolder(done.folder), "last")
    assert (alone.rendering, plain) == ("image", None)


def test_only_the_adapter_trains_and_is_read_back(
    run: Run, command: Any, pair: dict[str, Path]
) -> None:
    adapter_off = ("teacher=adapter_off", "model.adapter={r:2,lora_alpha:4}", "advantage=full_kl")
    common = (*adapter_off, 'teacher.context="{problem} sum"', "optimizer.lr=0.01")
    done = run(*common)
    assert done.code == 0, done.err
    rows = done.rows()
    again, other = (
        run(*common, "steps=1", f"seed={seed}", *QUICK, name=f"seed{seed}") for seed in (0, 1)
    )
    first = {"grad/norm", "train/loss"}
    assert all(again.rows()[0][name] == rows[0][name] for name in first)  # drawn from the seed
    assert all(other.rows()[0][name] != rows[0][name] for name in first)
    assert rows[0]["grad/norm_language"] > 0
    assert rows[0]["grad/norm_vision"] == rows[0]["grad/norm_projector"] == 0
    adapter = final(done, step=3)
    start = load_model(pair["student"])
    layers = {name for name, x in start.named_modules() if isinstance(x, torch.nn.Linear)}
    language = {name for name in layers if "language_model" in name}
    matrices = {f"{name}.lora_{x}.default.weight" for name in language for x in "AB"}
    assert adapter.keys() == matrices  # nothing else can have moved: evaluations below agree
    assert all(x.any() for x in adapter.values())
    states = load_file(done.folder / "checkpoints/step-0000003/optimizer.safetensors")
    assert {name.rsplit("/", 1)[0] for name in states} == adapter.keys()
    for which, step, model in (
        ("last", 3, "student"),
        ("base", 0, "student"),
        ("teacher", 0, "teacher"),
    ):
        arguments = (f"run={done.folder}", "rows=4", "k=2", f"checkpoint={which}")
        code, err = command(evaluate.main, *arguments)
        assert code == 0, err
        measured = done.rows("evaluations.jsonl")[-1]
        (before,) = (
            row
            for row in done.rows("eval.jsonl")
            if (row["step"], row["model"], row["split"]) == (step, model, "test")
        )
        assert {key: measured[key] for key in before} == before


def test_runs_of_a_sweep_share_the_answers_of_their_teacher(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = ("rollout=teacher", f"rollout.writer.cache={tmp_path}/cache", *QUICK)
    first = run("advantage=sft", *cached, name="first")
    assert first.code == 0, first.err
    files = sorted((tmp_path / "cache" / "answers").iterdir())
    assert len(files) == 3  # one per step
    monkeypatch.setattr(writers, "write_own", None)
    second = run("advantage=full_kl", *cached, name="second")
    assert second.code == 0, second.err
    tokens = [
        [sample["tokens"]["id"] for sample in done.rows("samples.jsonl")]
        for done in (first, second)
    ]
    assert tokens[0] == tokens[1]
    assert sorted((tmp_path / "cache" / "answers").iterdir()) == files


def test_the_data_can_begin_the_answers(run: Run) -> None:
    done = run(
        "rollout=prefix",
        "~rollout.writer.author",
        "+rollout.writer.author={_target_:gndpo.writers.data,_partial_:true,column:solution}",
        "advantage=trust_region",
        *QUICK,
    )
    assert done.code == 0, done.err
    own = [row["rollout/own"] for row in done.rows()]
    assert own == sorted(own)
    assert own[0] == pytest.approx(1 / 6)  # solutions fill the limit; one token is the student's


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("teacher=ema", "teacher.weights=pair"), "teacher.follow moves a copy of the student"),
        (("+teacher.wieghts=pair",), "teacher: unknown key 'wieghts' (allowed: weights, column"),
        (("+rollout.writer.script=1",), "unknown key 'script' (student takes: nothing)"),
        (('teacher.context="{problme}"',), "names the column 'problme', the data has answer, "),
        (
            ("advantage=sft", "rollout=data", "rollout.writer.column=work_"),
            "has nothing in its column 'work_'",
        ),
        (("rollout=teacher",), "this advantage only weighs what it writes; use an advantage with"),
        (("teacher.column=kind", "teacher.weights={area: pair}"), "has nobody for kind="),
    ],
)
def test_a_mistake_is_one_sentence(run: Run, overrides: tuple[str, ...], sentence: str) -> None:
    done = run(*overrides, "steps=1", *QUICK)
    assert done.code != 0
    assert sentence in done.err
    assert "Traceback" not in done.err
