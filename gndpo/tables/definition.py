"""A table as `conf/table` defines it: rows are presets, columns are benchmarks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from gndpo.errors import UserError
from gndpo.folders import config_folder
from gndpo.forms import check_section
from gndpo.tables.published import Published, read_published

T = TypeVar("T")

OWN = "test"
"""In place of a benchmark: the run's own test rows, as eval.jsonl has them."""
READERS = ("last", "base", "teacher")
FORMS = {
    "a text": "title source sweep evaluate? stand_in? published?",
    "a list of texts": "unreleased? remarks?",
    "settings by name, like {a: 1}": "rows panels",
}
PARTS = {
    "rows": {"a text": "label experiment? arm? checkpoint? against? without?"},
    "panels": {"texts by name, like {a: b}": "columns", "a list of texts": "rows?"},
}
"""Form -> keys, of a table, of each of its rows and of its panels; `?`: or null."""


@dataclass(frozen=True)
class Row:
    """experiment: a preset of gndpo-train. arm: overrides beside it, as typed; null: nothing is
    trained. checkpoint: who is measured, as gndpo-eval names it. against: the row that this one is
    tested against. without: why no run can fill the row."""

    label: str
    experiment: str | None = None
    arm: str | None = None
    checkpoint: str = "last"
    against: str | None = None
    without: str | None = None

    @property
    def overrides(self) -> list[str]:
        """All that gndpo-train is told, the seed aside."""
        return [f"experiment={self.experiment}", *(self.arm or "").split()]

    @property
    def trained(self) -> bool:
        return self.checkpoint == "last" and self.without is None


@dataclass(frozen=True)
class Column:
    """benchmark: an option of conf/benchmark, one that another harness measures, or `test`.
    measure: without its eval/; of another harness its metric."""

    benchmark: str
    measure: str
    label: str

    @property
    def external(self) -> bool:
        return self.benchmark != OWN and not option(f"benchmark/{self.benchmark}").exists()


@dataclass(frozen=True)
class Panel:
    """Columns side by side, and the rows that have them; of more than one column with a mean."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[str, ...]

    @property
    def averaged(self) -> bool:
        return len(self.columns) > 1


@dataclass(frozen=True)
class Table:
    """sweep: the folder below runs/ that its commands write into. evaluate: overrides of its
    gndpo-eval. unreleased: models that the authors kept; stand_in: the overrides that name others
    in their place. remarks: what else to know."""

    name: str
    title: str
    source: str
    sweep: str
    evaluate: str
    stand_in: str
    unreleased: tuple[str, ...]
    remarks: tuple[str, ...]
    rows: Mapping[str, Row]
    panels: tuple[Panel, ...]
    published: Published


def option(path: str) -> Path:
    return Path(config_folder()) / f"{path}.yaml"


def names() -> list[str]:
    """The tables there are."""
    folder = Path(config_folder()) / "table"
    files = sorted(folder.glob("*/*.yaml"))
    return [f"{file.parent.name}/{file.stem}" for file in files if file.parent.name != "base"]


def read_table(section: DictConfig, name: str) -> Table:
    """The definition `cfg.table`, its published cells from the CSV that it names."""
    values: Any = OmegaConf.to_container(section, resolve=True)
    where = f"table={name}"
    check_keys(values, {*known(Table), "published"} - {"name"}, where)
    check_forms(section, where)
    rows = {str(key): made(Row, row, f"{where}: rows.{key}") for key, row in values["rows"].items()}
    check_rows(rows, where)
    panels = tuple(
        panel(str(title), content, list(rows), f"{where}: panels.{title}")
        for title, content in values["panels"].items()
    )
    given = values.get("published")
    file = None if given is None else Path(config_folder()) / "table" / f"{given}.csv"
    published = read_published(file, {p.title: (p.rows, benchmarks(p)) for p in panels})
    return Table(
        name=name,
        title=values["title"],
        source=values["source"],
        sweep=values["sweep"],
        evaluate=values.get("evaluate") or "",
        stand_in=values.get("stand_in") or "",
        unreleased=tuple(values.get("unreleased") or ()),
        remarks=tuple(values.get("remarks") or ()),
        rows=rows,
        panels=panels,
        published=published,
    )


def check_forms(section: DictConfig, where: str) -> None:
    check_section(f"{where}: ", section, FORMS)
    for part, forms in PARTS.items():
        for key, inner in section[part].items():
            if not isinstance(inner, DictConfig):
                raise UserError(f"{where}: {part}.{key}={inner} must be settings by name")
            check_section(f"{where}: {part}.{key}.", inner, forms)


def panel(title: str, content: Mapping[str, Any], rows: Sequence[str], where: str) -> Panel:
    """`columns: {mmmu/acc_1: MMMU}`; `rows: null` means all."""
    check_keys(content, {"columns", "rows"}, where)
    columns = [column(str(key), label, where) for key, label in content["columns"].items()]
    named = [column.benchmark for column in columns]
    for name in named:
        if named.count(name) > 1:
            raise UserError(f"{where}: {name} has two columns; a benchmark has one per panel")
    chosen = content.get("rows") or rows
    for row in chosen:
        if row not in rows:
            raise UserError(f"{where}: there is no row {row}; rows are {', '.join(rows)}")
    return Panel(title, tuple(columns), tuple(chosen))


def column(key: str, label: str, where: str) -> Column:
    benchmark, sign, measure = key.partition("/")
    if not sign:
        raise UserError(f"{where}: column {key} must be <benchmark>/<measure>, e.g. mmmu/acc_1")
    return Column(benchmark, measure, label)


def benchmarks(panel: Panel) -> list[str]:
    return [column.benchmark for column in panel.columns]


def check_rows(rows: Mapping[str, Row], where: str) -> None:
    for key, row in rows.items():
        if row.checkpoint not in READERS:
            allowed = ", ".join(READERS)
            raise UserError(f"{where}: rows.{key}.checkpoint={row.checkpoint}; choose {allowed}")
        if row.against is not None and row.against not in rows:
            raise UserError(f"{where}: rows.{key}.against={row.against} is no row of the table")
        if row.without is None and row.experiment is None:
            raise UserError(f"{where}: rows.{key} needs an experiment, or without: a reason")
        if row.trained and not any(x.startswith("advantage=") for x in row.overrides):
            raise UserError(f"{where}: rows.{key}.arm must name its advantage=")


def made(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    check_keys(values, known(kind), where)
    return kind(**values)


def known(kind: Any) -> set[str]:
    return {field.name for field in fields(kind)}


def check_keys(values: Mapping[str, Any], allowed: set[str], where: str) -> None:
    for key in values:
        if key not in allowed:
            raise UserError(f"{where}: unknown key '{key}' (allowed: {', '.join(sorted(allowed))})")
