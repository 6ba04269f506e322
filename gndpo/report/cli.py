"""`gndpo-report <folder...>`: compare the runs below the folders.

Prints tables (learning, stability, differences seed by seed) and a verdict, and writes `report.md`,
`report.csv` and figures; with `--grid` also a heat map of two settings, with `--html` also
`report.html`, one page to look at, and with `--watch` that page again and again.
It reads run folders and nothing else: no network, no model, no Hydra configuration.
"""

import argparse
import contextlib
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from gndpo.console import console
from gndpo.errors import UserError
from gndpo.folders import made
from gndpo.report import paired, table
from gndpo.report.arms import Arm, group, unintended
from gndpo.report.load import Run, find_runs
from gndpo.report.measures import Summary, references, summarize
from gndpo.report.verdict import by_learning, verdict

SHOWN_SETTINGS = 8
WATCH_SECONDS = 30.0
USAGE = "gndpo-report <folder...> [--out DIR] [--html] [--watch [SECONDS]] [--grid ROW COLUMN]"
EXAMPLES = """Compare the runs below the given folders.

  gndpo-report runs/mine --html                             a table, a verdict, one page to look at
  gndpo-report runs/mine --watch                            that page again while a sweep runs
  gndpo-report runs/a runs/b --out runs/both                several sweeps
  gndpo-report runs/rates --grid advantage optimizer.lr     two settings against each other
"""
LEAST_WIDTH = 160  # a narrow terminal wraps the lines, which is better than cut numbers


@dataclass(frozen=True)
class Report:
    """Everything that is printed and written."""

    runs: list[Run]
    arms: list[Arm]
    references: list[Summary]
    summaries: list[Summary]

    @property
    def rows(self) -> list[Summary]:
        return [*self.references, *self.summaries]

    @property
    def ranked(self) -> list[Arm]:
        """In the order of the summaries."""
        of = {arm.name: arm for arm in self.arms}
        return [of[summary.name] for summary in self.summaries]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; usage: {USAGE}")


@console
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a mistake of the user prints one sentence and exits with 1."""
    try:
        _run(_parse(arguments))
    except UserError as error:
        print(f"gndpo-report: {error}", file=sys.stderr)
        sys.exit(1)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="gndpo-report",
        description=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, help="folders that hold runs, at any depth"
    )
    parser.add_argument("--out", type=Path, help="where to write (default: <first folder>/report)")
    parser.add_argument("--html", action="store_true", help="write report.html, one page, too")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=float,
        const=WATCH_SECONDS,
        metavar="SECONDS",
        help="write report.html again so often while runs go on (30), until Ctrl-C",
    )
    parser.add_argument(
        "--grid",
        nargs=2,
        metavar=("ROW", "COLUMN"),
        help="draw two settings against each other, e.g. --grid advantage optimizer.lr",
    )
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> None:
    if options.watch is not None and not 0 < options.watch < math.inf:
        raise UserError(f"--watch {options.watch:g}: give a number of seconds above 0, or none")
    report = build(find_runs(options.folders))
    out = options.out or options.folders[0] / "report"
    console = Console(width=max(Console().width, LEAST_WIDTH))
    show(report, console)
    written = write(report, out)
    if options.grid:
        from gndpo.report.grid import draw_grid, grid

        row, column = options.grid
        written.append(draw_grid(grid(report.arms, row, column), row, column, out))
    console.print(f"Written to {out}: {', '.join(written)}", highlight=False, soft_wrap=True)
    if options.html or options.watch:
        page = _write_page(report, out, options.watch)
        console.print(f"Open {page} in a browser", highlight=False, soft_wrap=True)
    if options.watch:
        _watch(options.folders, out, options.watch, console)


def _write_page(report: Report, out: Path, every: float | None) -> Path:
    from gndpo.report.page.html import write_page  # plotly is needed for the page only

    return write_page(report, out, every)


def _watch(folders: Sequence[Path], out: Path, seconds: float, console: Console) -> None:
    """Write the page again and again, and say how far the runs are, until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(seconds)
            report = build(find_runs(folders))
            page = _write_page(report, out, seconds)
            done = f"{sum(run.completed for run in report.runs)} of {len(report.runs)}"
            console.print(f"{page}: {done} runs completed", highlight=False, soft_wrap=True)


def build(runs: list[Run]) -> Report:
    """All numbers of the comparison, the arm that learned most first."""
    arms = group(runs)
    summaries = [summarize(arm) for arm in arms]
    ranked = by_learning(summaries)
    rest = [summary for summary in summaries if summary not in ranked]
    return Report(runs, arms, references(runs), ranked + rest)


def show(report: Report, console: Console) -> None:
    """Print the tables, the verdict and the remarks."""
    console.print(table.terminal("Learning", report.rows, table.LEARNING))
    console.print(table.terminal("Stability", report.summaries, table.STABILITY))
    if (pairs := paired.terminal(report.ranked)) is not None:
        console.print(pairs)
    for paragraph in [verdict(report.summaries), *remarks(report)]:
        console.print(paragraph, markup=False, highlight=False, soft_wrap=True)


def write(report: Report, out: Path) -> list[str]:
    """Write report.md, report.csv and the figures; gives the names written."""
    from gndpo.report.figures import draw_all  # matplotlib takes a second to import

    made(out, "--out")
    figures = draw_all(report.arms, report.summaries, out)
    (out / "report.md").write_text(as_markdown(report, figures), encoding="utf-8")
    (out / "report.csv").write_text(table.as_csv(report.rows), encoding="utf-8")
    pages = ["report.md", "report.csv"]
    return [*figures, *pages] if "ranking.png" in figures else [*pages, *figures]


def as_markdown(report: Report, figures: Sequence[str]) -> str:
    """The report as one Markdown page."""
    parts = [
        "# Comparison",
        f"**{verdict(report.summaries)}**",
        "## Learning",
        table.markdown(report.rows, table.LEARNING).rstrip(),
        table.LEARNING_NOTE,
        "## Stability",
        table.markdown(report.summaries, table.STABILITY).rstrip(),
        table.STABILITY_NOTE,
        *paired.markdown(report.ranked),
        *(f"- {remark}" for remark in remarks(report)),
        *(f"![{name.removesuffix('.png')}]({name})" for name in figures),
    ]
    return "\n\n".join(parts) + "\n"


def remarks(report: Report) -> list[str]:
    """Runs without numbers and why, and settings that make the comparison unfair."""
    found = [_unfinished(run) for arm in report.arms for run in arm.unfinished]
    found += [_unreadable(run) for run in report.runs if run.unreadable]
    kept = sum(len(arm.runs) for arm in report.arms)
    if repeated := len(report.runs) - kept:
        found.append(
            f"{repeated} run(s) repeat a strategy and seed; the latest completed one counts."
        )
    return [*found, _fairness(report.runs)]


def _unfinished(run: Run) -> str:
    info = run.info
    where = f"{run.folder}: {info['status']} at step {info.get('step', '?')}"
    reason = f", {info['reason']}" if info.get("reason") else ""
    return f"{where} of {info.get('steps', '?')}{reason}."


def _unreadable(run: Run) -> str:
    return f"{run.folder}: {run.unreadable} line(s) of its logs are unreadable and were left out."


def _fairness(runs: Sequence[Run]) -> str:
    if not all(run.config for run in runs):
        return "Some runs have no .hydra/config.yaml, so it is not known whether all are alike."
    differing = unintended(runs)
    methods = "Presets of methods differ by design. " if any(run.method for run in runs) else ""
    if not differing:
        that = "that, the advantage" if methods else "the advantage"
        return f"{methods}Apart from {that} and the seed, all runs have the same configuration."
    shown = [f"{key} ({', '.join(values)})" for key, values in differing.items()]
    more = f" and {len(shown) - SHOWN_SETTINGS} more" if len(shown) > SHOWN_SETTINGS else ""
    listed = ", ".join(shown[:SHOWN_SETTINGS])
    return f"{methods}Runs differ in more than the advantage and the seed: {listed}{more}."


if __name__ == "__main__":
    main()
