"""--help of every command: examples first, and every one of them composes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from gndpo import arguments  # registers the resolvers of conf/
from gndpo.folders import config_folder

CONF = Path(config_folder())
COMMANDS = sorted(file.stem for file in CONF.glob("*.yaml") if file.stem != "step")


@pytest.fixture(autouse=True)
def hydra_in_conf() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(command: str, *overrides: str) -> DictConfig:
    return compose(command, list(arguments.quoted(overrides)), return_hydra_config=True)


def examples(command: str) -> list[str]:
    header = composed(command).hydra.help.header
    return re.findall(r"^  (gndpo-\S+.*?)(?:  #.*)?$", header, re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_begins_with_what_the_command_does_and_three_to_six_examples(command: str) -> None:
    shown = composed(command).hydra.help
    assert shown.header.startswith(f"{shown.app_name}: ")
    lines = examples(command)
    assert 3 <= len(lines) <= 6
    assert {line.split()[0] for line in lines} == {shown.app_name}
    assert shown.template.startswith(shown.header.rstrip())
    assert shown.footer.strip() in shown.template
    assert max(map(len, shown.header.splitlines())) <= 100


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_composes(command: str) -> None:
    for line in examples(command):
        words = [word for word in shlex.split(line)[1:] if not word.startswith("-")]
        one_each = [re.sub(r"=([^\[,]*),.*", r"=\1", word) for word in words if "glob" not in word]
        composed(command, *one_each)
