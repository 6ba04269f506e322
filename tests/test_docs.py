"""What exists is described: a strategy or method without an entry in docs/methods.md fails here."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "methods.md").read_text()


def options(group):
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


@pytest.mark.parametrize("name", options("advantage"))
def test_every_strategy_has_an_entry_with_its_knobs(name):
    entry = TEXT.partition(f"\n## {name} —")[2].partition("\n## ")[0]
    for part in ("**Formula**", "**Source**", "**Knobs**", "**Released code**", "**When**"):
        assert part in entry, f"{name}: {part} is missing"
    for line in (ROOT / "conf" / "advantage" / f"{name}.yaml").read_text().splitlines():
        knob = line.partition(":")[0]
        if knob.isidentifier() and not knob.startswith("_"):
            assert f"`{knob}`" in entry, f"{name}: its knob {knob} is not described"


@pytest.mark.parametrize("group", ["experiment/methods", "rollout", "teacher"])
def test_every_preset_writer_and_teacher_is_listed(group):
    for name in options(group):
        assert f"| `{name}` |" in TEXT, f"{group}/{name} is not in docs/methods.md"


@pytest.mark.parametrize(
    ("group", "page"),
    [("data", "data"), ("benchmark", "benchmarks"), ("reward", "benchmarks")],
)
def test_every_data_set_benchmark_and_reward_is_named(group, page):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    for name in options(group):
        assert f"`{name}`" in text, f"{group}/{name} is not in docs/{page}.md"


def test_every_key_of_a_pair_and_every_preset_of_a_paper_is_named():
    text = (ROOT / "docs" / "real_models.md").read_text()
    for line in (ROOT / "conf" / "model" / "checkpoints.yaml").read_text().splitlines():
        key = line.partition(":")[0]
        if key.isidentifier():
            assert f"`{key}`" in text or f"model.{key}" in text, f"model.{key} is not described"
    for paper in ("gndpo", "vgs", "tropd"):
        first, *more = options(f"experiment/{paper}")
        assert f"`{paper}/{first}`" in text
        for name in more:
            tail = name.removeprefix(first.rpartition("_")[0])
            assert f"`{paper}/{name}`" in text or f"`{tail}`" in text, f"{paper}/{name}"
