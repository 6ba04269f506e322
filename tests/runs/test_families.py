"""gndpo-train -> gndpo-eval -> gndpo-export -> from_pretrained on a tiny checkpoint of every
architecture."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor
from twins import FAMILIES, VISION, write
from twins.reading import PROCESSORS, QUESTION, noise

from gndpo import evaluate, export, train
from gndpo.evaluate import find_step, run_config
from gndpo.models.parts import part_of, trained
from gndpo.policies import load_student
from gndpo.runfolder import RunFolder
from tests.runs.conftest import Finished

TINY = [
    "model=checkpoints",
    "logger=none",
    "steps=2",
    "prompts=2",
    "rollout.group=2",
    "rollout.max_tokens=5",
    "eval.validation=2",
    "eval.test=2",
    "eval.k=1",
    "eval.every=0",
    "diagnose.every=1",
    "schedule.warmup=0",
    "optimizer.lr=0.01",
    "data.max_prompt_tokens=400",
]
TIED = ("internvl", "qwen3_vl", "gemma3", "text_qwen3")
LORA = "model.adapter={r: 4, lora_alpha: 8}"


def fast(*families: str) -> list[Any]:
    """All of them; the others are slow tests."""
    return [
        pytest.param(family, marks=() if family in families else pytest.mark.slow)
        for family in FAMILIES
    ]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    root = tmp_path_factory.mktemp("families")

    def of(family: str, which: str) -> Path:
        folder = root / family / which
        if not folder.exists():
            write(family, folder, seed=len(which) % 2, layers={"student": 2, "teacher": 3}[which])
        return folder

    return of


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows for the families that only read."""
    file = tmp_path_factory.mktemp("rows") / "sums.jsonl"
    rows = [{"problem": f"{i} and {i + 1}?", "answer": str(2 * i + 1)} for i in range(60)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def run(command: Any, checkpoint: Any, questions: Path, tmp_path: Path) -> Callable[..., Finished]:
    """run("gemma3", "advantage=gndpo", name="a"): a training run of a family."""

    def start(family: str, *overrides: str, name: str = "run") -> Finished:
        pair = [
            f"model.pair.{which}={checkpoint(family, which)}" for which in ("student", "teacher")
        ]
        text = ["data=local", f"data.rows.source={questions}", "data.rows.fields.images=null"]
        data = [] if family in VISION else text
        folder = f"hydra.run.dir={tmp_path / name}"
        code, err = command(train.main, *data, *TINY, *pair, folder, *overrides)
        assert code == 0, err
        return Finished(code, err, tmp_path / name)

    return start


@pytest.fixture
def exported(command: Any, tmp_path: Path) -> Callable[..., Path]:
    def start(done: Finished, *overrides: str, name: str = "out") -> Path:
        to = tmp_path / name
        code, err = command(export.main, f"run={done.folder}", f"to={to}", *overrides)
        assert code == 0, err
        return to

    return start


def plain(family: str, folder: Path, **options: Any) -> Any:
    """What transformers alone makes of a folder."""
    auto = AutoModelForImageTextToText if family in VISION else AutoModelForCausalLM
    model, info = auto.from_pretrained(folder, output_loading_info=True, **options)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return model.eval()


def inputs(family: str, folder: Path) -> dict[str, Any]:
    """A question as the folder's own processor puts it, with an image where the family sees."""
    processor = PROCESSORS.get(family, AutoProcessor).from_pretrained(folder)
    if family in VISION:
        text = processor.apply_chat_template(QUESTION, add_generation_prompt=True, tokenize=False)
        return dict(processor(images=[noise()], text=[text], return_tensors="pt"))
    messages = [{"role": "user", "content": "Sum?"}]
    return dict(processor.apply_chat_template(messages, return_tensors="pt", return_dict=True))


@torch.no_grad()
def logits(model: Any, given: dict[str, Any]) -> torch.Tensor:
    return model(**given).logits


def student_of(done: Finished) -> Any:
    """The run's student after its last step."""
    folder = RunFolder(done.folder)
    student, _, _ = load_student(run_config(folder))
    find_step(folder, "last", student.model)
    return student.model


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("family", FAMILIES)
def test_train_eval_export_load(
    run: Any, exported: Any, checkpoint: Any, command: Any, family: str
) -> None:
    done, start = run(family), checkpoint(family, "student")
    code, err = command(evaluate.main, f"run={done.folder}", "rows=2", "k=1")
    assert code == 0, err
    assert [row["step"] for row in done.rows("evaluations.jsonl")] == [2]
    to = exported(done)
    given = inputs(family, start)
    assert same(inputs(family, to), given)
    model = plain(family, to)
    seen = logits(model, given)
    assert torch.equal(seen, logits(student_of(done), given))
    assert (seen - logits(plain(family, start), given)).abs().max() > 1e-2
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == (family in TIED)
    whole, begun = (load_file(folder / "model.safetensors") for folder in (to, start))
    assert {name: x.shape for name, x in whole.items()} == {k: x.shape for k, x in begun.items()}
    for file in start.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            assert (to / file.name).read_bytes() == file.read_bytes()


def test_an_adapter_and_the_projector_beside_it(run: Any, exported: Any, checkpoint: Any) -> None:
    done, start = run("gemma3", LORA, "model.parts=[projector]"), checkpoint("gemma3", "student")
    given = inputs("gemma3", start)
    merged, begun = plain("gemma3", exported(done)), plain("gemma3", start)
    torch.testing.assert_close(
        logits(merged, given), logits(student_of(done), given), atol=1e-4, rtol=0
    )
    changed = {
        part_of(name)
        for (name, one), other in zip(merged.named_parameters(), begun.parameters(), strict=True)
        if not torch.equal(one, other)
    }
    assert changed == {"projector", "language"}


@pytest.mark.parametrize("family", fast("qwen3_vl", "llava_next", "text"))
def test_an_adapter_is_merged_or_kept_apart(
    run: Any, exported: Any, checkpoint: Any, family: str
) -> None:
    done, start = run(family, LORA), checkpoint(family, "student")
    given = inputs(family, start)
    expected = logits(student_of(done), given)
    assert (expected - logits(plain(family, start), given)).abs().max() > 1e-2
    merged = exported(done, name="merged")
    torch.testing.assert_close(logits(plain(family, merged), given), expected, atol=1e-4, rtol=0)
    apart = exported(done, "merge=false", name="apart")
    named = json.loads((apart / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == str(start)
    model = PeftModel.from_pretrained(plain(family, Path(named)), apart)
    torch.testing.assert_close(logits(model, given), expected, atol=1e-5, rtol=0)
    assert not [*apart.glob("model*.safetensors")]


@pytest.mark.parametrize("family", fast("qwen3_vl"))
def test_a_run_continues_bitwise(run: Any, family: str) -> None:
    whole = run(family, "checkpoint.every=1", name="whole")
    cut = run(family, "checkpoint.every=1", name="cut")
    shutil.rmtree(cut.folder / "checkpoints" / "step-0000002")
    status = (cut.folder / "run.json").read_text()
    (cut.folder / "run.json").write_text(status.replace("completed", "running"))
    again = run(family, "checkpoint.every=1", "ckpt=last", name="cut")
    name = "checkpoints/step-0000002/student.safetensors"
    assert (again.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    for one, other in zip(again.rows(), whole.rows(), strict=True):
        assert {k: x for k, x in one.items() if "time/" not in k} == {
            k: x for k, x in other.items() if "time/" not in k
        }


NARROW = ("model.dtype=bfloat16", "model.checkpointing=true")


@pytest.mark.parametrize("family", fast("internvl", "qwen2_5_vl", "gemma3"))
def test_every_view_in_bfloat16_with_checkpointing_one_answer_at_a_time(
    run: Any, exported: Any, checkpoint: Any, family: str
) -> None:
    reads_only = family.startswith("text")  # no text view beside its only one
    advantage = f"advantage={'full_kl' if reads_only else 'decomposed'}"
    done = run(family, advantage, *NARROW, "updates.answers=1")
    assert all(row["grad/skipped"] == 0 and row["grad/norm"] > 0 for row in done.rows())
    stored = load_file(done.folder / "checkpoints" / "step-0000002" / "student.safetensors")
    assert {x.dtype for x in stored.values()} == {torch.float32}
    given, student = inputs(family, checkpoint(family, "student")), student_of(done)
    model = plain(family, exported(done, name="narrow"))
    assert model.dtype == torch.bfloat16
    assert torch.equal(logits(model, given), logits(student, given))
    wide = plain(family, exported(done, "dtype=float32", name="wide"))
    assert same(dict(wide.named_parameters()), stored)
    assert trained(student).keys() == stored.keys()
    assert not all(torch.equal(x, x.bfloat16().float()) for x in stored.values())
