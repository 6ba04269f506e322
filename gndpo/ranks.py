"""Processes ("ranks") that share a step. Every number of a step is of all ranks: each function here
takes what one rank has and gives every rank the same. A process on its own is the only rank."""

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from itertools import pairwise
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, distributed

from gndpo.errors import UserError

T = TypeVar("T")
P = ParamSpec("P")


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def join() -> None:
    """Meet the other processes, at the address that torchrun or our own launch gave them."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def from_first(work: Callable[[], T]) -> T:
    """What the first rank's `work` returns, or the error that it raises, on every rank."""
    if size() == 1:
        return work()
    found: list[Any] = [None, None]
    if rank() == 0:
        try:
            found[0] = work()
        except UserError as error:
            found[1] = str(error)
    distributed.broadcast_object_list(found)
    if found[1] is not None:
        raise UserError(found[1])
    result: T = found[0]
    return result


@contextmanager
def entered_by_first(context: AbstractContextManager[T]) -> Iterator[T]:
    """A context that the first rank alone enters; all get what it gives."""
    with ExitStack() as stack:
        yield from_first(lambda: stack.enter_context(context))


def by_first(write: Callable[P, None]) -> Callable[P, None]:
    """Done by the first rank, left out by the others."""

    @wraps(write)
    def written(*args: P.args, **kwargs: P.kwargs) -> None:
        if rank() == 0:
            write(*args, **kwargs)

    return written


def everywhere(x: T) -> list[T]:
    """What each rank has, in their order."""
    if size() == 1:
        return [x]
    found: list[Any] = [None] * size()
    distributed.all_gather_object(found, x)
    return found


def total(x: Tensor) -> Tensor:
    """The sum over ranks; x itself takes it."""
    if size() > 1:
        distributed.all_reduce(x)
    return x


def largest(x: float) -> float:
    return max(everywhere(x))


def pooled(x_n: Tensor, row_n: Tensor) -> Tensor:
    """The values of all ranks, [N], in the order of the rows they belong to. row_n: of each value;
    the values of one row are one rank's, in order."""
    found = everywhere((x_n.cpu(), row_n.cpu()))
    x_N, row_N = (torch.cat(parts) for parts in zip(*found, strict=True))
    return x_N[row_N.argsort(stable=True)].to(x_n.device)


def places(prompts: int, minibatches: int) -> list[int]:
    """Which prompts of a step are this rank's: an equal share of every minibatch."""
    cuts = [i * prompts // minibatches for i in range(minibatches + 1)]
    shares = [
        range(a + (b - a) * rank() // size(), a + (b - a) * (rank() + 1) // size())
        for a, b in pairwise(cuts)
    ]
    return [place for share in shares for place in share]


def within(place_P: Sequence[int], start: int, stop: int) -> range:
    """The positions in place_P (ascending) of the places start..stop-1."""
    return range(bisect_left(place_P, start), bisect_left(place_P, stop))
