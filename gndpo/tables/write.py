"""A sheet for the terminal, and as Markdown, LaTeX and HTML."""

import re
from collections.abc import Iterator
from html import escape
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from gndpo.tables.sheet import Cell, Grid, Line, Sheet

FILLED_BY = "Missing cells are filled by"
STYLE = """:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
thead { border-bottom: 1px solid; }
tr.first { border-top: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
tr:not(.first) th { font-weight: normal; }
th, td { padding: .2rem .8rem; text-align: right; }
tbody th, td.what { text-align: left; }
td sup { position: absolute; }
td.what { opacity: .7; }
code { overflow-wrap: anywhere; }"""
FIRST = ' class="first"'
LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
}


def terminal(grid: Grid) -> RichTable:
    table = RichTable(title=grid.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True, style="dim")
    for name in grid.header:
        table.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
    for lines in rows_of(grid):
        for line in lines:
            texts = [Text(f"{x.text} {x.mark}".strip()) for x in line.cells]
            last = line is lines[-1]
            name = line.row if line is lines[0] else ""
            table.add_row(Text(name), line.what, *texts, end_section=last)
    return table


def rows_of(grid: Grid) -> Iterator[list[Line]]:
    """The lines of each row."""
    for _, lines in groupby(grid.lines, key=lambda line: line.row):
        yield list(lines)


def markdown(sheet: Sheet) -> str:
    parts = [f"# {sheet.title}", f"{sheet.source}."]
    for grid in sheet.grids:
        parts += [f"## {grid.title}", markdown_table(grid)]
    parts += ["\n".join(f"- [{mark}] {text}" for mark, text in sheet.notes.items())]
    parts += list(sheet.paragraphs)
    if sheet.commands:
        parts += [f"{FILLED_BY}:", "\n".join(f"    {x}" for x in sheet.commands)]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(grid: Grid) -> str:
    lines = [["", "", *grid.header], ["---", "---", *["---:"] * len(grid.header)]]
    for row in rows_of(grid):
        for line in row:
            name = line.row if line is row[0] else ""
            lines.append([name, line.what, *(marked(cell, " [{}]") for cell in line.cells)])
    return "\n".join(f"| {' | '.join(bars(x) for x in line)} |" for line in lines)


def bars(text: str) -> str:
    return text.replace("|", "\\|")


def marked(cell: Cell, how: str) -> str:
    return cell.text + (how.format(cell.mark) if cell.mark else "")


def latex(sheet: Sheet) -> str:
    r"""Tables for \usepackage{booktabs}; commands as comments."""
    tables = [latex_table(sheet, grid) for grid in sheet.grids]
    comments = [f"% {FILLED_BY}:", *(f"% {x}" for x in sheet.commands)]
    return "\n\n".join([*tables, "\n".join(comments if sheet.commands else [])]).rstrip() + "\n"


def latex_table(sheet: Sheet, grid: Grid) -> str:
    used = {cell.mark for line in grid.lines for cell in line.cells}
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{tex(sheet.title)}, {tex(grid.title)} ({tex(sheet.source)}).}}",
        rf"\begin{{tabular}}{{ll{'r' * len(grid.header)}}}",
        r"\toprule",
        " & ".join(["", "", *map(tex, grid.header)]) + r" \\",
        r"\midrule",
    ]
    for number, row in enumerate(rows_of(grid)):
        lines += [r"\addlinespace"] * (number > 0)
        lines += [latex_line(line, first=line is row[0]) for line in row]
    lines += [r"\bottomrule", r"\end{tabular}"]
    for mark, text in sheet.notes.items():
        if mark in used:
            lines += ["", rf"\footnotesize\textsuperscript{{{mark}}} {tex(text)}."]
    return "\n".join([*lines, r"\end{table}"])


def latex_line(line: Line, *, first: bool) -> str:
    cells = [tex(x.text) + (rf"\textsuperscript{{{x.mark}}}" * bool(x.mark)) for x in line.cells]
    return " & ".join([tex(line.row) if first else "", tex(line.what), *cells]) + r" \\"


def tex(text: str) -> str:
    """Its own signs escaped, minus signs before digits as such."""
    escaped = "".join(LATEX.get(sign, sign) for sign in text)
    return re.sub(r"(?<![\w$])-(?=\d)", "$-$", escaped)


def html(sheet: Sheet) -> str:
    """One page that needs nothing else."""
    notes = "".join(f"<li><sup>{m}</sup> {escape(t)}</li>" for m, t in sheet.notes.items())
    commands = "".join(f"<li><code>{escape(x)}</code></li>" for x in sheet.commands)
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(sheet.title)}</title>',
        f"<style>\n{STYLE}\n</style></head><body>",
        f"<h1>{escape(sheet.title)}</h1>",
        f"<p>{escape(sheet.source)}.</p>",
        *(html_table(grid) for grid in sheet.grids),
        f"<ul>{notes}</ul>" if notes else "",
        *(f"<p>{escape(text)}</p>" for text in sheet.paragraphs),
        f"<p>{FILLED_BY}:</p><ul>{commands}</ul>" if commands else "",
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def html_table(grid: Grid) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", "", *grid.header))
    body = []
    for row in rows_of(grid):
        for line in row:
            first = line is row[0]
            cells = "".join(f"<td>{html_cell(cell)}</td>" for cell in line.cells)
            name = escape(line.row) if first else ""
            start = f"<tr{FIRST * first}><th>{name}</th>"
            body.append(f'{start}<td class="what">{escape(line.what)}</td>{cells}</tr>')
    rows = "\n".join(body)
    return (
        f'<h2>{escape(grid.title)}</h2>\n<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def html_cell(cell: Cell) -> str:
    return escape(cell.text) + (f"<sup>{cell.mark}</sup>" if cell.mark else "")


WRITERS = {"md": markdown, "tex": latex, "html": html}
