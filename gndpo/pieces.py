"""A step's answers in pieces small enough for one forward."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from gndpo import ranks

T = TypeVar("T")


@dataclass(frozen=True)
class Portion:
    """What goes through at a time. micro: prompts per forward (None: all). answers: of one prompt
    per forward (None: the whole group). chunk: rows of the vocabulary matrix. tokens: in place of
    micro and answers, as many prompts of like length as fit, padding included. shared: weights
    lie on several ranks, which read equally often."""

    micro: int | None
    answers: int | None
    chunk: int | None
    tokens: int | None = None
    shared: bool = False

    def halved(self, prompts: int, group: int) -> "Portion | None":
        """Half of it, for pieces of so many prompts with `group` answers each: half the tokens,
        else half the prompts, of one prompt half the answers. None where nothing can be halved."""
        if self.tokens is not None:
            return replace(self, tokens=self.tokens // 2) if self.tokens > 1 else None
        answers = min(self.answers or group, group)
        micro = 1 if answers < group else min(self.micro or prompts, prompts)
        if micro > 1:
            return replace(self, micro=(micro + 1) // 2)
        return replace(self, micro=1, answers=(answers + 1) // 2) if answers > 1 else None


@dataclass(frozen=True)
class Piece:
    """Prompts and answers to them: positions in the step's batch, [p] and [b]; the b / p answers to
    a prompt are adjacent."""

    prompts: Tensor
    rows: Tensor

    def cut(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """The answers' tokens and which are valid, [b, t], t the length of the longest, at least 2:
        then every piece is read alike, prompt and answers, on all ranks."""
        mask_bT = mask_BT[self.rows]
        t = max(2, int(mask_bT.any(0).sum()))
        return ids_BT[self.rows, :t], mask_bT[:, :t]

    def tokens(self, mask_BT: Tensor) -> Tensor:
        """Which of the step's N valid tokens its own are, [n], row by row."""
        number_BT = mask_BT.flatten().cumsum(0).view_as(mask_BT) - 1
        return number_BT[self.rows][mask_BT[self.rows]]


def pieces(
    start: int, stop: int, group: int, micro: int | None, answers: int | None
) -> Iterator[Piece]:
    """The answers to prompts start..stop-1, some prompts at a time; where `answers` are less than a
    group, some answers of one prompt at a time."""
    if answers is not None and answers < group:
        for p in range(start, stop):
            for first in range(p * group, (p + 1) * group, answers):
                last = min(first + answers, (p + 1) * group)
                yield Piece(torch.tensor([p]), torch.arange(first, last))
        return
    size = micro or max(1, stop - start)
    for p in range(start, stop, size):
        end = min(p + size, stop)
        yield Piece(torch.arange(p, end), torch.arange(p * group, end * group))


def portions(
    start: int, stop: int, portion: Portion, length_P: Tensor, length_B: Tensor
) -> Iterator[Piece]:
    """The same by what the portion says. length_P, length_B: tokens of prompts and answers."""
    group = len(length_B) // len(length_P)
    if portion.tokens is None:
        return pieces(start, stop, group, portion.micro, portion.answers)
    answers = length_B.view(-1, group).tolist()
    return fitting(start, stop, portion.tokens, length_P.tolist(), answers)


def fitting(
    start: int, stop: int, tokens: int, prompt: list[int], answers: list[list[int]]
) -> Iterator[Piece]:
    """Prompts of like length together, as long as a piece has at most `tokens`; a group that is too
    long goes in parts, and an answer that is too long goes alone. prompt, answers: tokens of each
    prompt, and of the answers to it."""
    G = len(answers[0])

    def size(some: list[int]) -> int:
        return len(some) * (max(prompt[p] for p in some) + G * max(max(answers[p]) for p in some))

    def part_size(some: list[tuple[int, int]]) -> int:
        p = some[0][0]
        return prompt[p] + len(some) * max(answers[p][i] for p, i in some)

    by_length = sorted(range(start, stop), key=lambda p: (max(answers[p]), prompt[p]))
    for some in filled(by_length, size, tokens):
        if size(some) <= tokens:
            which = torch.tensor(sorted(some))
            yield Piece(which, (which[:, None] * G + torch.arange(G)).flatten())
            continue
        (p,) = some
        group = sorted(((p, i) for i in range(G)), key=lambda x: answers[p][x[1]])
        for part in filled(group, part_size, tokens):
            yield Piece(torch.tensor([p]), torch.tensor(sorted(p * G + i for p, i in part)))


def spares(own: int, group: int, portion: Portion) -> list[Piece]:
    """What a rank with `own` pieces reads for nothing, its first prompt, until it has read as many
    as the others."""
    missing = int(ranks.largest(own)) - own if portion.shared else 0
    return [Piece(torch.tensor([0]), torch.arange(group))] * missing


def filled(items: list[T], size: Callable[[list[T]], int], limit: int) -> list[list[T]]:
    """Items in order, packed into parts no larger than the limit, or of one item."""
    parts: list[list[T]] = []
    for item in items:
        if parts and size([*parts[-1], item]) <= limit:
            parts[-1].append(item)
        else:
            parts.append([item])
    return parts
