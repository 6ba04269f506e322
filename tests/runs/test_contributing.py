"""The example of CONTRIBUTING.md, followed to the letter: three files, and the strategy trains."""

import re
from pathlib import Path
from typing import Any

import pytest

import gndpo.advantages
from gndpo import train

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def strategy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first two files, written outside the repository but found under the same names."""
    (tmp_path / "softsign.py").write_text(blocks("python")[0])
    (tmp_path / "advantage").mkdir()
    (tmp_path / "advantage" / "softsign.yaml").write_text(blocks("yaml")[0])
    monkeypatch.setattr(gndpo.advantages, "__path__", [*gndpo.advantages.__path__, str(tmp_path)])
    return tmp_path


def test_the_third_file_passes(strategy: Path) -> None:
    names: dict[str, Any] = {}
    exec(blocks("python")[1], names)
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    test()


def test_the_strategy_trains(strategy: Path, command: Any, small: list[str]) -> None:
    code, err = command(
        train.main,
        f"--config-dir={strategy}",
        "advantage=softsign",
        f"hydra.run.dir={strategy}/run",
        *small,
    )
    assert code == 0, err
