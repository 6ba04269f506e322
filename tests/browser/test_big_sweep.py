"""A large sweep: the page stays light and opens at once. The only test that reads a clock, as
opening fast is what it is about; it runs with the other browser tests, not with `make test`."""

from pathlib import Path

import numpy as np
import pytest
from browser.fake_runs import SHAPES, evals, metrics

from gndpo.report.cli import build
from gndpo.report.load import Run
from gndpo.report.page.html import write_page

pytestmark = pytest.mark.browser
VARIANTS, SEEDS, STEPS = 8, 5, 2000  # of each of five strategies: 200 runs
MOST_BYTES, MOST_MILLISECONDS = 15_000_000, 3000


def big_run(strategy: str, variant: int, seed: int) -> Run:
    rng = np.random.default_rng([seed, variant, len(strategy)])
    overrides = [f"advantage={strategy}", f"advantage.clamp={variant}", f"seed={seed}"]
    info = {"strategy": strategy, "seed": seed, "status": "completed", "overrides": overrides}
    config = {"seed": seed, "advantage.clamp": variant, "optimizer.lr": 0.002}
    config |= {f"group{i}.key{j}": i * j for i in range(15) for j in range(10)}
    folder = Path(f"/sweep/{strategy}-{variant}-{seed}")
    rows = metrics(strategy, STEPS, rng)
    return Run(folder, info, config, rows, evals(strategy, STEPS, rng))


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = [
        big_run(strategy, variant, seed)
        for strategy in SHAPES
        for variant in range(VARIANTS)
        for seed in range(SEEDS)
    ]
    assert len(runs) == 200
    return write_page(build(runs), tmp_path_factory.mktemp("big"))


def test_two_hundred_runs_weigh_at_most_15_megabytes(big):
    assert big.stat().st_size <= MOST_BYTES


def test_two_hundred_runs_open_in_three_seconds(look, big):
    seen = look(big)
    ready = seen.page.evaluate("performance.getEntriesByName('ready')[0].startTime")
    assert ready < MOST_MILLISECONDS
    assert seen.page.locator("tr[data-arm]").count() == 40
    seen.page.locator("#gradient-plots").scroll_into_view_if_needed()
    seen.page.wait_for_selector("#gradient-plots[data-drawn]")
    assert seen.errors == []
