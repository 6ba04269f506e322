"""Wrong things typed: one clear sentence, a non-zero exit, nothing lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from gndpo import evaluate
from tests.runs.conftest import Run, build_checkpoint

SENTENCES = {
    "advantage=typo": "advantage=typo: there is no such option; choose one of aopd, ",
    "+advantage.clmap=1": "unknown key 'clmap' (raw_kl takes: clamp)",
    "advantage.clmap=1": "clmap",
    "+surrogate.loss.clip=1": "unknown key 'clip' (reinforce takes: nothing)",
    "surrogate.aggregation=mean": "choose one of sequence_mean_token_mean, token_mean",
    "rollout.group=0": "rollout.group=0 must be a number larger than 0",
    "optimizer.lr=-1": "optimizer.lr=-1 must be a number larger than 0",
    "rollout.top_p=0.9": "truncated sampling biases every on-policy estimate",
    "rollout.top_k=20": "truncated sampling biases every on-policy estimate",
    "schedule.decay=exp": "choose one of linear, cosine, constant",
    "+updates.clipnorm=1": "unknown key 'clipnorm'",
    "updates.minibatches=9": "updates.minibatches=9 is more than prompts=4",
    "data.max_prompt_tokens=5": "a prompt has",
    "ckpt=first": "use ckpt=last",
    "advantage._target_=os.system": "may be named",
    "model.pair.student=/nowhere": "there is no such folder",
    "+stesp=3": "unknown key 'stesp'",
    "+rollout.topp=0.5": "rollout: unknown key 'topp'",
    "+surrogate.clip_low=0.1": "surrogate: unknown key 'clip_low' (allowed: loss, aggregation)",
    "+data.rows.blocks.x._target_=os.getcwd": "may be named",
    "rollout.group=0.5": "rollout.group=0.5 must be a whole number",
    "seed=-1": "seed=-1 must be a whole number, 0 or larger",
    "updates.clip_norm=-1": "updates.clip_norm=-1 must be larger than 0, or null",
    "advantage.clamp=-5": "clamp=-5 must be larger than 0, or null",
    "model.dtype=foo": "model.dtype=foo is unknown",
    "model.teacher_dtype=foo": "model.teacher_dtype=foo is unknown",
    "model.trains=both": "model.trains=both is unknown; choose student or teacher",
    "model.parts=[vison]": "model.parts=['vison']: choose at least one of vision, projector",
    "model.attention=flash": "model.attention=flash is unknown; choose sdpa, eager",
    "model.image_backend=opencv": "model.image_backend=opencv is unknown; choose pil or torch",
    "model.eos=[stop]": "model.eos names 'stop', which is no token of the tokenizer",
    "model.chat_template=chat.jinja": "there is no such file; give a Jinja file, the template",
    "+model.sytem=x": "model: unknown key 'sytem' (allowed: pair, trains",
    "updates.answers=0": "updates.answers=0 must be larger than 0, or null",
    "rollout.micro=0": "rollout.micro=0 must be larger than 0, or null",
    "eval.batch=0": "eval.batch=0 must be a number larger than 0",
}


@pytest.mark.parametrize("override", SENTENCES)
def test_a_mistake_is_one_sentence(run: Run, override: str) -> None:
    done = run(override)
    assert done.code != 0
    assert SENTENCES[override] in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ("model.checkpointing=true", "model.attention=flash_attention_2"),
            "that attention takes no mask between the answers of a prompt; use model.attention",
        ),
        (
            ("model.adapter={r:2}", "model.parts=[language]"),
            "the language model learns through its adapter; leave language out",
        ),
    ],
)
def test_settings_that_exclude_each_other(
    run: Run, overrides: tuple[str, ...], sentence: str
) -> None:
    done = run(*overrides)
    assert done.code != 0
    assert sentence in done.err
    assert "Traceback" not in done.err


def test_a_k_larger_than_the_vocabulary_is_refused(run: Run) -> None:
    done = run("advantage=trust_region", "advantage.k=1000")
    assert done.code != 0
    assert "k=1000" in done.err
    assert "Traceback" not in done.err


def test_a_folder_of_another_run_is_refused_untouched(run: Run) -> None:
    done = run()
    before = {f: f.read_bytes() for f in done.folder.rglob("*") if f.is_file()}
    again, other = run(), run("seed=5")
    assert again.code != 0
    assert "holds this run already" in again.err
    assert other.code != 0
    assert "holds another run" in other.err
    assert {f: f.read_bytes() for f in done.folder.rglob("*") if f.is_file()} == before


def test_a_folder_of_other_files_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    done = run()
    assert done.code != 0
    assert "holds other files" in done.err


def test_nothing_to_continue_is_no_mistake(run: Run) -> None:
    done = run()
    assert run("ckpt=last").code == 0
    assert len(run("ckpt=last").rows()) == len(done.rows())


def test_long_prompts_are_dropped_and_counted_on_request(run: Run) -> None:
    done = run("data.max_prompt_tokens=36", "data.overlong=drop")
    assert done.code == 0, done.err
    assert sum(row["rollout/dropped"] for row in done.rows()) > 0


@pytest.mark.parametrize(("what", "sentence"), [("ids", "token ids"), ("pixels", "image_mean")])
def test_student_and_teacher_must_read_the_same(
    run: Run, tmp_path: Path, what: str, sentence: str
) -> None:
    teacher = build_checkpoint(tmp_path / "other", seed=3, layers=1)
    if what == "ids":
        edit(teacher / "tokenizer.json", swap_first_two)
    else:
        edit(
            teacher / "processor_config.json",
            lambda c: c["image_processor"].update(image_mean=[0.9] * 3),
        )
    done = run(f"model.pair.teacher={teacher}")
    assert done.code != 0
    assert sentence in done.err
    assert "Traceback" not in done.err


def edit(file: Path, change: Any) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def swap_first_two(tokenizer: dict[str, Any]) -> None:
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["sum"], vocabulary["top"] = vocabulary["top"], vocabulary["sum"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "which run?"),
        (("run=/nowhere",), "is not a run folder"),
    ],
)
def test_evaluating_no_run(command: Any, arguments: tuple[str, ...], sentence: str) -> None:
    code, err = command(evaluate.main, *arguments)
    assert code != 0
    assert sentence in err
    assert "Traceback" not in err


def test_evaluating_a_run(run: Run, command: Any) -> None:
    done = run()
    for checkpoint in ("last", "base", "teacher", "3"):
        code, err = command(
            evaluate.main, f"run={done.folder}", "rows=4", "k=1", f"checkpoint={checkpoint}"
        )
        assert code == 0, err
    code, err = command(evaluate.main, f"run={done.folder}", "checkpoint=7")
    assert code != 0
    assert "use one of these steps" in err
