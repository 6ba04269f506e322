"""gndpo-inspect: on a run, on any pair, with models that only read; what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from twins import VISION, write

from gndpo.build import build, build_advantage
from gndpo.checkpoints import found as checkpoints_of
from gndpo.evaluate import run_config
from gndpo.evaluation import grade
from gndpo.inspection import command as inspection
from gndpo.module import Distillation
from gndpo.policies import load_policies
from gndpo.runfolder import RunFolder
from gndpo.train import module_settings
from gndpo.writers import student
from tests.runs.conftest import Finished, Run

ROOT = Path(__file__).parents[2]
OPTIONS = sorted(path.stem for path in (ROOT / "conf" / "advantage").glob("*.yaml"))
SEE = {"decomposed", "decomposed_sampled", "language_steering", "mix", "va_opd", "vcsd"}
"""Strategies that read what an image adds."""
COLUMNS = {"student", "teacher", "log_ratio", "visual", "entropy", "teacher_entropy", "rank"}
FEW = "strategies=[raw_kl,gndpo,trust_region,full_kl]"


def tokens(folder: Path) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((folder / "tokens.json").read_text(), parse_constant=refuse)


def flat(found: Any, *keys: str) -> torch.Tensor:
    """The numbers of all answers in a row."""
    values = []
    for one in found["answers"]:
        for key in keys:
            one = one[key]
        values += one
    return torch.tensor(values, dtype=torch.double)


def test_all_strategies_on_a_run(run: Run, command: Any) -> None:
    done = run("advantage=gndpo", "advantage.clamp=1.5")
    before = {file: file.read_bytes() for file in done.folder.rglob("*") if file.is_file()}
    code, err = command(inspection.main, f"run={done.folder}", "prompts=3", "group=2")
    assert code == 0, err
    assert "left out" not in err
    assert {file: file.read_bytes() for file in before} == before
    found = tokens(done.folder)
    assert found["step"] == 3
    assert [*found["strategies"]] == ["gndpo", *(name for name in OPTIONS if name != "gndpo")]
    assert len(found["answers"]) == 6
    for one in found["answers"]:
        assert {*one["tokens"]} == {"text", *COLUMNS}
        columns = [*one["tokens"].values(), *one["advantages"].values()]
        columns += [*one["losses"].values(), *one["notes"].values()]
        assert {len(column) for column in columns} == {len(one["tokens"]["text"])}
        assert one["images"][0].startswith("data:image/png;base64,")
    difference = flat(found, "tokens", "teacher") - flat(found, "tokens", "student")
    ratio = flat(found, "tokens", "log_ratio")
    torch.testing.assert_close(ratio, difference, atol=2e-3, rtol=0)  # four digits each
    torch.testing.assert_close(flat(found, "advantages", "raw_kl"), ratio)
    assert {*flat(found, "notes", "trust_region/accepted").tolist()} == {0.0, 1.0}
    clamped = flat(found, "notes", "gndpo/clamped").bool()  # the run's own knob
    assert torch.equal(clamped, ratio.abs() > 1.5)
    assert 0 < clamped.sum() < len(clamped)


def step_of(done: Finished, name: str, P: int) -> dict[str, torch.Tensor]:
    """What a training step of one strategy would make of the same rows, pooled."""
    cfg = run_config(RunFolder(done.folder))
    strategy = build_advantage(OmegaConf.load(ROOT / "conf" / "advantage" / f"{name}.yaml"))
    module = Distillation(
        *load_policies(cfg),
        strategy,
        build(cfg.surrogate.loss, "surrogate.loss"),
        student,
        build(cfg.reward, "reward"),
        None,
        module_settings(cfg),
    )
    module.continue_from([*checkpoints_of(done.folder / "checkpoints").values()][-1])
    share = module.read(build(cfg.data, "data").evaluation_rows("test", P))
    with torch.no_grad():
        answers = module.roll(share)
        rewards = grade(answers, share.prompts, module.processor, module.reward)
        scores = module.score(share, answers, rewards)
        signal = strategy(scores)
    columns = {"student": scores.student.logp_BT, "advantage": signal.advantage_BT, **signal.notes}
    return {name: scores.pool(x_BT).double() for name, x_BT in columns.items()}


def test_advantages_are_those_of_a_training_step(run: Run, command: Any) -> None:
    done = run("rollout.max_tokens=5")
    code, err = command(inspection.main, f"run={done.folder}", "prompts=4", FEW)
    assert code == 0, err
    found = tokens(done.folder)
    for name in ("raw_kl", "gndpo", "trust_region"):
        expected = step_of(done, name, 4)
        torch.testing.assert_close(
            flat(found, "tokens", "student"), expected["student"], atol=1e-5, rtol=1e-3
        )
        torch.testing.assert_close(
            flat(found, "advantages", name), expected["advantage"], atol=1e-5, rtol=1e-3
        )
    assert torch.equal(flat(found, "notes", "trust_region/accepted"), expected["accepted"])
    assert "full_kl" not in found["answers"][0]["advantages"]


def test_the_same_again_elsewhere_and_otherwise_with_another_seed_step_or_split(
    run: Run, command: Any, tmp_path: Path
) -> None:
    done = run("checkpoint.every=2")

    def inspected(*overrides: str) -> Any:
        arguments = (f"run={done.folder}", f"out={tmp_path / 'elsewhere'}", "prompts=2", FEW)
        code, err = command(inspection.main, *arguments, *overrides)
        assert code == 0, err
        return tokens(tmp_path / "elsewhere")

    first = inspected()
    assert inspected() == first
    assert not (done.folder / "tokens.json").exists()
    earlier, redrawn = inspected("checkpoint=2"), inspected("seed=1")
    start = inspected("checkpoint=base", "split=validation")
    assert [x["step"] for x in (first, earlier, redrawn, start)] == [3, 2, 3, 0]
    assert first["answers"] not in (earlier["answers"], redrawn["answers"])
    assert start["answers"][0]["images"] != first["answers"][0]["images"]


@pytest.fixture(scope="module")
def reads_only(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A pair without eyes, and its rows."""
    root = tmp_path_factory.mktemp("text")
    rows = [{"problem": f"{i} and {i}?", "answer": str(2 * i)} for i in range(40)]
    (root / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = ["data=local", f"data.rows.source={root / 'sums.jsonl'}", "data.rows.fields.images=null"]
    return [*pair_of("text", root), *text]


def pair_of(family: str, root: Path) -> list[str]:
    return [
        "model=checkpoints",
        *(
            f"model.pair.{name}={write(family, root / name, layers=i, seed=i)}"
            for i, name in ((1, "student"), (2, "teacher"))
        ),
        "rollout.max_tokens=5",
        "rollout.group=2",
        "prompts=2",
    ]


def test_models_that_only_read(command: Any, reads_only: list[str], tmp_path: Path) -> None:
    code, err = command(inspection.main, *reads_only, f"out={tmp_path}")
    assert code == 0, err
    found = tokens(tmp_path)
    left_out = {name for name in OPTIONS if name not in found["strategies"]}
    assert left_out == SEE
    for name in left_out:
        assert f"{name} is left out: it reads what the image adds (" in err
    assert found["step"] == 0
    for one in found["answers"]:
        assert {*one["tokens"]} == {"text", *COLUMNS} - {"visual"}
        assert one["images"] == []


@pytest.mark.parametrize(
    "family",
    [pytest.param(x, marks=() if x == "gemma3" else pytest.mark.slow) for x in VISION],
)
def test_every_family_and_a_strategy_with_knobs(command: Any, tmp_path: Path, family: str) -> None:
    own = ("advantage=gndpo", "advantage.centre=false", "advantage.scale=false")
    asked = "strategies=[gndpo,gndpo_ladder/clamp,raw_kl,decomposed,vcsd]"
    arguments = (*pair_of(family, tmp_path / family), *own, asked, "data.max_prompt_tokens=400")
    code, err = command(inspection.main, *arguments, f"out={tmp_path}")
    assert code == 0, err
    found = tokens(tmp_path)
    assert found["model"] == "model=checkpoints"
    assert len(found["answers"]) == 4
    own_knobs, ladder = (flat(found, "advantages", x) for x in ("gndpo", "gndpo_ladder/clamp"))
    assert torch.equal(own_knobs, ladder)
    assert flat(found, "tokens", "visual").abs().max() > 0.01


SENTENCES = {
    "++run=/nowhere": "is not a run folder",
    "checkpoint=7": "use one of these steps",
    "checkpoint=teacher": "the answers are the student's",
    "split=train": "choose test or validation",
    "strategies=[raw_kl,foo]": "there is no advantage/foo; choose from aopd",
    "prompts=0": "prompts=0 must be a whole number, 1 or larger",
    "out=5": "out=5 must be a text, or null",
    "group=0": "group=0 must be a whole number, 1 or larger, or null",
    "model=digits": "brings its own configuration, and model=digits would change it",
    "device=tpu": "cannot be used",
    "stratgies=all": "stratgies",
}


def test_a_mistake_is_one_sentence(run: Run, command: Any) -> None:
    done = run()
    for override, sentence in SENTENCES.items():
        code, err = command(inspection.main, f"run={done.folder}", "strategies=foo", override)
        assert code != 0, override
        assert sentence in err
        assert "Traceback" not in err
    assert not (done.folder / "tokens.json").exists()


def test_a_file_in_the_way_is_named_before_anything_is_computed(run: Run, command: Any) -> None:
    done = run()
    given = (f"run={done.folder}", "strategies=foo")  # which only loading would refuse
    for taken in (done.folder / "run.json", done.folder / "run.json" / "below"):
        code, err = command(inspection.main, *given, f"out={taken}")
        assert code == 1
        assert f"{taken}: is a file; name a folder with out=" in err


WITHOUT_A_RUN = {
    "strategies=[raw_kl,vcsd]": "vcsd cannot run here: it reads what the image adds",
    "checkpoint=3": "checkpoint=3: of which run?",
    "rollout.rendering=text": "the student only reads text",
    "steps=0": "steps=0 must be a whole number, 1 or larger",
}


def test_a_mistake_without_a_run_is_one_sentence(command: Any, reads_only: list[str]) -> None:
    for override, sentence in WITHOUT_A_RUN.items():
        code, err = command(inspection.main, *reads_only, override)
        assert code != 0, override
        assert sentence in err
        assert "Traceback" not in err


@pytest.mark.parametrize("flag", ["--help", "--cfg=job"])
def test_the_command_explains_itself(command: Any, flag: str) -> None:
    code, err = command(inspection.main, flag)
    assert code == 0, err
