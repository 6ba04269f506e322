import functools
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import joblib
import pytest
import torch
from hydra import compose, initialize_config_dir

from gndpo.build import config_folder
from gndpo.data.contexts import Context
from gndpo.data.digits import KINDS, DigitsRows
from gndpo.errors import UserError
from gndpo.models.digits import build_model, build_processor
from gndpo.models.load import Pair, load_model, load_processor
from gndpo.models.processor import Processor
from gndpo.models.vocabulary import Vocabulary
from gndpo.policy import Policy
from gndpo.pretrain import Plan, main, pretrained_pair, train
from gndpo.supervised import Recipe, fit, make_lesson, make_optimizers, solution_nats

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
TEXT = {**SIZES, "num_key_value_heads": 2, "head_dim": 8}
RECIPE = Recipe(
    steps=2, batch=4, text_rows=1, lr=3e-3, muon_lr=0.01, weight_decay=0.05, warmup=1, clip=1.0
)
PLAN = Plan(SIZES, TEXT, RECIPE, images=None)
ROWS = partial(
    DigitsRows,
    blocks={"train": [0, 50], "test": [50, 80]},
    kinds=list(KINDS),
    augment=None,
    images=None,
    language="plain",
)
OTHER = partial(ROWS, kinds=["sum"])
UNTAUGHT = Context("{steps}", "{solution}", share=0.0)


@pytest.fixture
def policy():
    processor = Processor(build_processor())
    torch.manual_seed(0)
    model = build_model(processor.tokenizer, vision=SIZES, text=TEXT)
    return Policy(model, Vocabulary.of(processor, model, None))


def pair(cache, **changes):
    settings = {"rows": ROWS, "seed": 0, "evaluation_rows": 3, "student": PLAN, "teacher": PLAN}
    return pretrained_pair(cache_dir=str(cache), **(settings | changes))


def test_a_pair_is_trained_saved_measured_and_then_found(tmp_path):
    made = pair(tmp_path)
    report = json.loads((Path(made.student).parent / "pretrain.json").read_text())
    assert set(report) == {"seed", "student", "teacher"}
    assert {"eval/acc_1", "eval/acc_k", "format_nats/text", "seconds"} <= set(report["teacher"])
    stamp = Path(made.student, "model.safetensors").stat().st_mtime_ns
    assert pair(tmp_path) == made
    assert Path(made.student, "model.safetensors").stat().st_mtime_ns == stamp
    assert load_model(made.teacher).num_parameters() == report["teacher"]["parameters"]
    load_processor(made.student)


def test_a_job_of_a_parallel_sweep_can_train_the_pair(tmp_path):
    beside = joblib.Parallel(n_jobs=2)(joblib.delayed(pair)(tmp_path) for _ in range(2))
    assert beside == [pair(tmp_path)] * 2


def test_training_repeats_bitwise_and_follows_the_seed(tmp_path):
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(PLAN, ROWS, seed, 2, tmp_path / name, show=False)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_contexts_are_taught_by_their_share_and_measured_in_any_case(tmp_path):
    half = Context("system {problem}", "\\boxed{{ {answer} }}", share=0.5)
    weights = []
    for number, contexts in enumerate(({}, {"untaught": UNTAUGHT}, {"half": half})):
        folder = tmp_path / str(number)
        report = train(replace(PLAN, contexts=contexts), ROWS, 0, 2, folder, show=False)
        assert set(report["contexts"]) == set(contexts)
        for measured in report["contexts"].values():
            assert {"eval/acc_1", "eval/acc_k", "eval/length"} <= set(measured)
        weights.append((folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"student": replace(PLAN, recipe=replace(RECIPE, lr=1e-3))},
        {"student": replace(PLAN, contexts={"untaught": UNTAUGHT})},
        {"rows": OTHER},
    ],
)
def test_other_settings_are_another_pair(tmp_path, monkeypatch, changes):
    monkeypatch.setattr("gndpo.pretrain.cached", lambda folder, make: folder)
    assert pair(tmp_path) == pair(tmp_path)
    assert pair(tmp_path) != pair(tmp_path, **changes)


def test_training_lowers_the_cost_with_and_without_image(policy):
    processor, rows = Processor(build_processor()), ROWS("train", 0)
    lesson = make_lesson(processor, [rows[i] for i in range(6)], with_image=3)
    with torch.no_grad():
        before = solution_nats(policy, lesson).view(2, 3 * 14)
    longer = replace(RECIPE, steps=30, batch=8, text_rows=2)
    fit(policy, processor, rows, longer, show=False)
    with torch.no_grad():
        after = solution_nats(policy, lesson).view(2, 3 * 14)
    assert (after.mean(-1) < before.mean(-1) - 0.3).all()


def test_every_parameter_has_exactly_one_optimizer(policy):
    optimizers = make_optimizers(policy.model, RECIPE)
    held = [id(p) for o in optimizers for group in o.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in policy.model.parameters())


@pytest.mark.parametrize("changes", [{"steps": 0}, {"text_rows": 5}])
def test_a_recipe_that_cannot_be(changes):
    with pytest.raises(UserError, match="recipe"):
        replace(RECIPE, **changes)


def tiny_overrides(cache):
    small = [
        f"model.pair.{who}.{key}"
        for who in ("student", "teacher")
        for key in ("recipe.steps=1", "recipe.batch=4", "recipe.text_rows=1")
    ]
    return [f"cache_dir={cache}", "model.pair.evaluation_rows=2", *small]


def test_the_command_trains_the_shipped_pair_and_says_what_it_can_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gndpo-pretrain", *tiny_overrides(tmp_path)])
    main()
    student, teacher = capsys.readouterr().out.splitlines()
    assert student.startswith("student: ")
    assert teacher.endswith("/teacher")


def test_the_command_says_what_a_model_can_do_in_every_context(tmp_path, monkeypatch, capsys):
    able = {"eval/acc_1": 0.5, "eval/acc_k": 0.4, "eval/length": 12.4}

    @functools.wraps(pretrained_pair)
    def found(*, student, teacher, **_):
        assert student.contexts == teacher.contexts
        contexts = dict.fromkeys(student.contexts, able)
        report = {"eval/blind": 0.1, "seconds": 1.0, "contexts": contexts} | able
        (tmp_path / "pretrain.json").write_text(json.dumps({"student": report, "teacher": report}))
        return Pair(student=tmp_path / "student", teacher=tmp_path / "teacher")

    monkeypatch.setattr("gndpo.pretrain.pretrained_pair", found)
    monkeypatch.setattr("sys.argv", ["gndpo-pretrain", "model=digits_contexts", "cache_dir=/no"])
    main()
    lines = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    names = ("answer", "solution", "concise", "harness", "foreign")
    inside = [f"  in context {name}" for name in names]
    assert lines == ["student", *inside, "teacher", *inside]


def test_a_quarter_of_the_shipped_rows_lose_their_image():
    with initialize_config_dir(config_folder(), version_base="1.3"):
        cfg = compose("pretrain", overrides=["cache_dir=/nowhere"])
    for who in ("student", "teacher"):
        recipe = cfg.model.pair[who].recipe
        assert recipe.text_rows / recipe.batch == 0.25
