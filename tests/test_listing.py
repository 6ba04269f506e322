"""What gndpo-list says is what conf/ holds."""

import subprocess
import sys
from pathlib import Path

import pytest

from gndpo import listing

FILES = sorted(listing.CONF.glob("**/*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(listing.CONF)))
def test_every_file_of_conf_says_what_it_is(file: Path) -> None:
    text = listing.description(file)
    assert len(text) > 10, f"{file}: begin it with a comment, one sentence on what it is"


def test_every_group_is_described() -> None:
    assert set(listing.groups()) == listing.GROUPS.keys()


def test_the_overview_names_every_option_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    listing.main([])
    out = capsys.readouterr().out
    for group in listing.groups():
        assert f"\n{group} " in f"\n{out}"
        for name, text in listing.options(listing.CONF / group):
            assert any(
                line.split()[:1] == [name] and line.endswith(text) for line in out.splitlines()
            )
    assert "from scores to signal (default: raw_kl)" in out
    assert "methods/" in out
    assert "\x1b" not in out


def test_a_group_shows_its_folders(capsys: pytest.CaptureFixture[str]) -> None:
    listing.main(["experiment"])
    out = capsys.readouterr().out
    count = len(list((listing.CONF / "experiment").glob("**/*.yaml")))
    described = [line for line in out.splitlines() if line and not line.startswith("gndpo-list")]
    assert len(described) == count
    assert "methods/gkd" in out


def test_an_option_shows_its_keys_defaults_and_meanings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listing.main(["advantage/gndpo"])
    out = capsys.readouterr().out
    assert "GNDPO (2606.09091): clamp, then whiten over the whole step." in out
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in out.splitlines() if line}
    assert rows["clamp"] == ["5.0", "nats; null: none"]
    assert rows["centre"] == ["true", "subtract the mean"]
    assert "advantage.<key>=<value>" in out


def test_an_option_shows_what_it_builds_on() -> None:
    """conf/data/geometry3k.yaml changes conf/data/local.yaml; its own values win."""
    found = listing.keys(listing.CONF / "data" / "geometry3k.yaml")
    assert found["_target_"][1] == "gndpo.data.module.PromptData"
    assert found["max_prompt_tokens"][1] == "8192"
    assert found["rows"][1] == "think"


OPTIONS = [
    file for file in FILES if file.relative_to(listing.CONF).parts[0] not in listing.INTERNAL
]


@pytest.mark.parametrize("file", OPTIONS, ids=lambda file: str(file.relative_to(listing.CONF)))
def test_every_option_has_keys(file: Path) -> None:
    found = listing.keys(file)
    assert found
    assert all(name == line[0] for name, line in found.items())


def test_what_an_option_builds_on_is_found_from_the_root_its_group_and_in_a_package() -> None:
    """conf/advantage/vgs/grpo_full_kl.yaml has two strategies, as `first` and `second`."""
    whole = listing.keys(listing.CONF / "advantage" / "gndpo_ladder" / "clamp_whiten_step.yaml")
    assert whole["clamp"] == listing.keys(listing.CONF / "advantage" / "gndpo.yaml")["clamp"]
    preset = listing.keys(listing.CONF / "experiment" / "vgs" / "qwen3_vl_2b.yaml")
    assert listing.keys(listing.CONF / "experiment" / "base" / "vgs.yaml").keys() <= preset.keys()
    mixed = listing.keys(listing.CONF / "advantage" / "vgs" / "grpo_full_kl.yaml")
    assert mixed["first._target_"][1] == "gndpo.advantages.grpo.grpo"
    assert "second._target_" in mixed


def test_a_preset_shows_what_it_chooses() -> None:
    found = listing.keys(listing.CONF / "experiment" / "methods" / "gkd.yaml")
    assert [found[name][:2] for name in ("advantage", "rollout", "advantage.direction")] == [
        ("advantage", "full_kl"),
        ("rollout", "mixed_data"),
        ("advantage.direction", "0.5"),
    ]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("advantge", "did you mean advantage"),
        ("advantage/gndop", "did you mean advantage/gndpo"),
        ("gkd", "did you mean experiment/methods/gkd"),
        ("zzzzzz", "no group or option 'zzzzzz'; gndpo-list shows all groups"),
        ("output", "there is no group or option 'output'"),
        ("../tests", "there is no group or option '../tests'"),
        ("hydra/help/train", "there is no group or option 'hydra/help/train'"),
        ("./hydra", "there is no group or option './hydra'"),
    ],
)
def test_an_unknown_name_is_one_sentence(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        listing.main([typed])
    assert stop.value.code == 1
    err = capsys.readouterr().err
    assert meant in err
    assert err.count("\n") == 1


def test_it_starts_without_torch() -> None:
    code = (
        "import sys; from gndpo import listing; listing.main([]); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
