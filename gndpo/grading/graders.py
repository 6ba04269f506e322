"""Graders: (text, row) -> how right a text is, in [0, 1], or the `Work` that will say so.

Nothing here raises on what a model wrote: what cannot be read is wrong. Work can hang, so it runs
in processes of its own (`gndpo.grading.pool`); this module therefore imports nothing heavy. A
grader of your own is a function of the same form, named in a YAML.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gndpo.data.rows import Row
from gndpo.errors import UserError
from gndpo.grading.extraction import LONGEST, final_answer, letters_of, unwrapped


class Work(NamedTuple):
    """function(*arguments), a truth value that may take forever; both can be pickled."""

    function: Callable[..., bool]
    arguments: tuple[Any, ...]


Verdict = float | Work
Grader = Callable[[str, Row], Verdict]


def mathematics(text: str, row: Row, *, read: str) -> Verdict:
    """Equal to the row's answer as text, as a number, or as mathematics (math-verify).

    read: boxed | any, see `final_answer`. More than LONGEST characters are wrong.
    """
    written = final_answer(text, read)
    return 0.0 if written is None else same(written, row["answer"])


def same(written: str, truth: str) -> Verdict:
    """Equal as text or as numbers; where neither is a plain number, the work to find out."""
    written, truth = "".join(written.split()), "".join(truth.split())
    if written == truth:
        return 1.0
    try:
        return float(float(written) == float(truth))
    except ValueError:
        return 0.0 if len(written) > LONGEST else Work(equivalent, (written, truth))


def equivalent(written: str, truth: str) -> bool:
    from math_verify import parse, verify  # half a second to import

    sides = [parse(f"${x}$", parsing_timeout=None, raise_on_error=False) for x in (truth, written)]
    return bool(verify(*sides, timeout_seconds=None, raise_on_error=False))


def multiple_choice(text: str, row: Row, *, read: str) -> Verdict:
    """The letter, or letters, of the right option, or that option's text.

    An answer that names no letter and is no option's text may still equal a right option with
    digits in it as mathematics.
    """
    truth, choices = frozenset(re.findall("[A-Z]", row["answer"])), row["choices"]
    if not truth or "".join(sorted(truth)) != "".join(re.findall(r"\w", row["answer"])):
        raise UserError(
            f"row {row['name']}: the answer {row['answer']!r} is no letter of an option; set the "
            "data's answer form, or use reward=auto or reward=exact"
        )
    written = final_answer(text, read)
    if written is None:
        return 0.0
    written = written if len(written) <= LONGEST else written[:LONGEST] + "\n" + written[-LONGEST:]
    options = [plain(choice) for choice in choices]
    if len(plain(written)) > 1 and plain(written) in options:
        return float(truth == {chr(ord("A") + options.index(plain(written)))})
    letters = letters_of(written, len(choices) or 26)
    return float(letters == truth) if letters else same_option(written, choices, truth)


def same_option(written: str, choices: list[str], truth: frozenset[str]) -> Verdict:
    """Mathematics against the one right option. Words are left out: math-verify reads them as
    products of letters, where dog = god."""
    index = ord(min(truth)) - ord("A")
    if len(truth) > 1 or index >= len(choices) or not re.search(r"\d", choices[index]):
        return 0.0
    return same(unwrapped(written), unwrapped(choices[index]))


def plain(text: str) -> str:
    """For comparing words: case, blanks, markup, brackets around and final dots left out; one
    degree sign."""
    bare = unwrapped(text).replace("^{\\circ}", "°").replace("^\\circ", "°")
    return "".join(bare.split()).casefold().strip(".(){}[]")


def auto(text: str, row: Row, *, read: str) -> Verdict:
    """multiple_choice where the row has choices, else mathematics."""
    return (multiple_choice if row["choices"] else mathematics)(text, row, read=read)


def by_kind(text: str, row: Row, *, graders: Mapping[str, Grader]) -> Verdict:
    """A grader per kind of row; "choices" grades those with choices, whatever their kind."""
    kind = "choices" if row["choices"] else row["kind"]
    if kind not in graders:
        raise UserError(
            f"row {row['name']}: there is no grader for {kind!r}, only for {', '.join(graders)}; "
            "add one to reward.parts.accuracy.graders"
        )
    return graders[kind](text, row)


def exact(text: str, row: Row, *, read: str) -> Verdict:
    """The same words; case, blanks, markup and final dots do not count."""
    written = final_answer(text, read)
    return float(written is not None and plain(written) == plain(row["answer"]))


def numeric(text: str, row: Row, *, read: str, relative: float, absolute: float) -> Verdict:
    """A number within max(relative * |truth|, absolute) of the row's answer.

    Thousands separators, 3/4, \\frac{3}{4}, 1e3, units behind and names before "=" are read. A
    percentage equals the same percentage and a hundredth of it, and nothing else.
    """
    truth = number(row["answer"])
    if truth is None:
        raise no_number(row)
    written = number(last_line(text, read))
    if written is None:
        return 0.0
    both = written.percent and truth.percent
    a, b = (x.value / 100 if x.percent and not both else x.value for x in (written, truth))
    return float(abs(a - b) <= max(relative * abs(b), absolute))


def rounded(text: str, row: Row, *, read: str) -> Verdict:
    """A number that, rounded to as many decimals as the row's answer has, is the answer."""
    truth = number(row["answer"])
    if truth is None:
        raise no_number(row)
    written = number(last_line(text, read))
    decimals = len(row["answer"].strip().partition(".")[2])
    return float(written is not None and abs(written.value - truth.value) <= 0.5 * 10**-decimals)


def no_number(row: Row) -> UserError:
    return UserError(
        f"row {row['name']}: the answer {row['answer']!r} is no number; use reward=boxed, "
        "auto or exact"
    )


def last_line(text: str, read: str) -> str:
    """Of the answer, at most LONGEST characters; empty without one."""
    return (final_answer(text, read) or "").rpartition("\n")[2][-LONGEST:]


class Number(NamedTuple):
    value: float
    percent: bool


DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+"
NUMBER = re.compile(
    rf"([-+]?)\s?(?:\\[dt]?frac\{{(\d+)\}}\{{(\d+)\}}|({DIGITS})(?:\s?/\s?(\d+)|([eE][-+]?\d+))?)"
    r"\s?(%?)"
)


def number(text: str) -> Number | None:
    """The first number behind the last equals sign."""
    bare = unwrapped(text).replace("−", "-").replace("{,}", ",").replace("\\%", "%")
    found = NUMBER.search(re.sub(r"\\[,;! ]", "", bare).rpartition("=")[2])
    if found is None:
        return None
    sign, above, below, digits, over, exponent, percent = found.groups()
    value = float((above or digits).replace(",", "") + (exponent or ""))
    divisor = float(below or over or 1)
    if divisor == 0:
        return None
    return Number((-1 if sign == "-" else 1) * value / divisor, percent == "%")


def pattern(text: str, row: Row, *, regex: str) -> Verdict:
    """The whole text matches a regular expression (a dot matches line ends too). A time limit
    holds, because regular expressions can be exponential."""
    return Work(matches, (text, regex))


def matches(text: str, regex: str) -> bool:
    return re.fullmatch(regex, text, re.DOTALL) is not None


def think_boxed(text: str, row: Row) -> Verdict:
    """Reasoning first, then a boxed answer, the format that the papers train:
    `\\s*<think>.*</think>.*\\boxed{.*}.*`, searched in linear time."""
    if not text.lstrip().startswith("<think>"):
        return 0.0
    place = 0
    for mark in ("<think>", "</think>", "\\boxed{", "}"):
        found = text.find(mark, place)
        if found < 0:
            return 0.0
        place = found + len(mark)
    return 1.0
