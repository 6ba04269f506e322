"""One question about images: what is asked, and what the methods need besides."""

from typing import TypedDict

from PIL import Image

MARKER = "<image>"
"""Where an image stands in a problem; without markers images come first."""


class Row(TypedDict):
    """name: where the row stands, such as geometry3k/train/17; sentences about the row say it.
    images: RGB. problem: the question; one MARKER per image, or none. answer: what the reward
    compares.

    choices: options of a multiple-choice question in order, of which the answer is the letter;
    empty for other questions. solution: worked, as `<think> ... </think> \\boxed{ answer }`;
    empty where none is known. kind: the sort of question, for tables. fields: further columns that
    a template may name.
    """

    name: str
    images: list[Image.Image]
    problem: str
    answer: str
    choices: list[str]
    solution: str
    kind: str
    fields: dict[str, str]
