"""One question about images: the columns of Geometry3K, and what the methods need besides."""

from typing import TypedDict

from PIL import Image


class Row(TypedDict):
    """images: RGB. problem: the question. answer: what the reward compares.

    solution: worked, as `<think> ... </think> \\boxed{ answer }`; empty where none is known.
    kind: the sort of question, for tables. fields: further columns that a template may name.
    """

    images: list[Image.Image]
    problem: str
    answer: str
    solution: str
    kind: str
    fields: dict[str, str]
