"""Two settings against each other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gndpo.errors import UserError
from gndpo.report.arms import group
from gndpo.report.grid import caption, draw_grid, gained, grid
from gndpo.report.load import find_runs

from .conftest import BASE, fake_eval, fake_metrics

Make = Callable[..., Path]


def write(make_run: Make, root: Path, strategy: str, seed: int, rate: float, final: float) -> None:
    """A run that ends at an accuracy."""
    make_run(
        root / f"{strategy}-{rate}-{seed}",
        strategy,
        seed,
        config=f"optimizer:\n  lr: {rate}\n",
        overrides=[f"advantage={strategy}", f"optimizer.lr={rate}", f"seed={seed}"],
        evals=[fake_eval(0, "student", "test", BASE), fake_eval(60, "student", "test", final)],
    )


@pytest.fixture
def runs(make_run: Make, tmp_path: Path) -> Path:
    for rate, final in ((0.1, BASE + 0.2), (1.0, BASE - 0.3)):
        write(make_run, tmp_path, "raw_kl", 0, rate, final)
        write(make_run, tmp_path, "raw_kl", 1, rate, BASE + 0.1)
    write(make_run, tmp_path, "gndpo", 0, 0.1, BASE + 0.15)
    return tmp_path


def test_cells_hold_the_seeds_of_a_pair_of_values(runs: Path) -> None:
    found = grid(group(find_runs([runs])), "advantage", "optimizer.lr")
    assert found.rows == ["gndpo", "raw_kl"]
    assert found.columns == [0.1, 1.0]
    means = found.values(lambda cell: float(np.mean(cell.gains)))
    np.testing.assert_allclose(means, [[0.15, np.nan], [0.15, -0.1]], atol=1e-12)
    diverged = {pair: cell.diverged for pair, cell in found.cells.items()}
    assert diverged == {("raw_kl", 0.1): 0, ("raw_kl", 1.0): 1, ("gndpo", 0.1): 0}
    assert gained(found.cells["raw_kl", 1.0], -10.0) == "-10.0\n1 of 2 diverged"
    assert gained(found.cells["gndpo", 0.1], 15.0) == "+15.0"
    assert "mean over 1-2 seeds" in caption(found)


def test_a_skipped_gradient_counts_as_diverged(make_run: Make, tmp_path: Path) -> None:
    rows = fake_metrics("raw_kl", 0, 60)
    rows[5]["grad/skipped"] = 1
    make_run(tmp_path / "run", "raw_kl", 0, metrics=rows)
    found = grid(group(find_runs([tmp_path])), "advantage", "optimizer.lr")
    assert found.cells["raw_kl", 0.002].diverged == 1


def test_the_figure_is_written(runs: Path) -> None:
    found = grid(group(find_runs([runs])), "advantage", "optimizer.lr")
    assert draw_grid(found, "advantage", "optimizer.lr", runs) == "grid.png"
    assert (runs / "grid.png").stat().st_size > 10_000


def test_a_key_that_no_run_has_is_refused(runs: Path) -> None:
    with pytest.raises(UserError, match=r"--grid optimiser.lr: .* has no such key"):
        grid(group(find_runs([runs])), "optimiser.lr", "advantage")


def test_nothing_completed_is_refused(make_run: Make, tmp_path: Path) -> None:
    make_run(tmp_path / "run", "raw_kl", 0, status="running")
    with pytest.raises(UserError, match="no run is completed"):
        grid(group(find_runs([tmp_path])), "advantage", "optimizer.lr")


def test_a_third_key_is_not_pooled_as_seeds(make_run: Make, tmp_path: Path) -> None:
    for steps in (10, 20):
        overrides = ["advantage=raw_kl", f"steps={steps}", "seed=0"]
        make_run(tmp_path / f"{steps}", "raw_kl", 0, overrides=overrides)
    with pytest.raises(UserError, match=r"raw_kl steps=10 and raw_kl steps=20 have both values"):
        grid(group(find_runs([tmp_path])), "advantage", "optimizer.lr")


def test_lists_are_refused(make_run: Make, tmp_path: Path) -> None:
    make_run(tmp_path / "run", "raw_kl", 0, config="model:\n  parts: [language]\n")
    with pytest.raises(UserError, match=r"--grid model.parts: its values are lists"):
        grid(group(find_runs([tmp_path])), "advantage", "model.parts")
