"""`gndpo-table table=vgs/main runs=[runs/vgs]`: a paper's table, filled from run folders; with
`--plan` what is missing, and what it would cost."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from gndpo.console import console
from gndpo.errors import UserError
from gndpo.folders import config_folder, made
from gndpo.forms import check_section
from gndpo.report.load import find_runs
from gndpo.tables import numbers, write
from gndpo.tables.definition import Table, names, read_table
from gndpo.tables.measured import fill
from gndpo.tables.plan import LEAST_WIDTH, batch_of, bills, sections, show
from gndpo.tables.sheet import Sheet, sheet
from gndpo.tables.tasks import tasks

FORMATS = (*write.WRITERS, "csv")
FORMS = {
    "a list of texts": "runs format",
    "a list of whole numbers": "seeds",
    "a text": "out?",
}


@hydra.main(version_base="1.3", config_path=config_folder(), config_name="table")
def app(cfg: DictConfig) -> None:
    if cfg.table is None:
        raise UserError(f"which table? type gndpo-table table=<name>; there are {listed()}")
    check_section("", cfg, FORMS)
    wrong = [name for name in cfg.format if name not in FORMATS]
    if wrong:
        raise UserError(f"format={wrong}: choose among {', '.join(FORMATS)}, as format=[md,csv]")
    if cfg.plan not in (True, False, "commands"):
        raise UserError(f"plan={cfg.plan}: choose true, false or commands")
    table = read_table(cfg.table, str(HydraConfig.get().runtime.choices["table"]))
    fillings = fill(table, find_runs([Path(folder) for folder in cfg.runs]) if cfg.runs else [])
    section = sections(table)
    more = str(cfg.more).split()
    left = tasks(
        table, fillings, cfg.seeds, lambda name: batch_of(section(name), cfg.assume.rows), more
    )
    if cfg.plan == "commands":
        print("\n".join(task.command for task in left))
    elif cfg.plan:
        show(bills(table, left, cfg.assume, more), left, cfg.assume)
    else:
        found = numbers.numbers(table, fillings)
        page = sheet(table, found, fillings, [task.command for task in left])
        print_sheet(page)
        if cfg.out is not None:
            texts = {name: writer(page) for name, writer in write.WRITERS.items()}
            save(table, texts | {"csv": numbers.as_csv(table, found)}, cfg)


def print_sheet(page: Sheet) -> None:
    console = Console(width=max(Console().width, LEAST_WIDTH), highlight=False)
    console.print(f"{page.title} ({page.source})", style="bold", markup=False)
    for grid in page.grids:
        console.print(write.terminal(grid))
    for mark, text in page.notes.items():
        console.print(f"{mark}: {text}", markup=False)
    for paragraph in page.paragraphs:
        console.print(paragraph, markup=False)
    if page.commands:
        print(f"{write.FILLED_BY}:", *page.commands, sep="\n  ")


def save(table: Table, texts: dict[str, str], cfg: DictConfig) -> None:
    out = made(Path(cfg.out), "out=")
    written = [f"{table.name.replace('/', '-')}.{kind}" for kind in cfg.format]
    for file, kind in zip(written, cfg.format, strict=True):
        (out / file).write_text(texts[kind], encoding="utf-8")
    print(f"Written to {out}: {', '.join(written)}")


def listed() -> str:
    return ", ".join(names())


def checked(arguments: Sequence[str]) -> list[str]:
    """As Hydra reads them. A table that does not exist is one sentence here; other folders of
    tables come with Hydra's own --config-dir."""
    own = any(argument.startswith(("--config-dir", "-cd")) for argument in arguments)
    for argument in arguments:
        name = argument.removeprefix("table=")
        if name != argument and name not in names() and not own:
            near = get_close_matches(name, names(), n=1, cutoff=0)
            raise UserError(f"table={name}: there is none; did you mean {near[0]}? All: {listed()}")
    return [translated(argument) for argument in arguments]


def translated(argument: str) -> str:
    """--plan as plan=true, and more= with the quotes that its signs need."""
    if argument == "--plan":
        return "plan=true"
    key, _, value = argument.partition("=")
    return f"more='{value}'" if key == "more" and "'" not in value else argument


@console
def main() -> None:
    """The console script."""
    try:
        sys.argv[1:] = checked(sys.argv[1:])
    except UserError as error:
        print(f"gndpo-table: {error}", file=sys.stderr)
        sys.exit(1)
    app()


if __name__ == "__main__":
    main()
