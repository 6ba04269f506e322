"""Views: what one model says about the answers under one rendering of the prompt.

Per token, in nats, exactly 0 at padding.
Legend of the axes: B answers, T answer tokens (right-padded), N valid tokens in row-major order,
V vocabulary, H hidden size, K top-k.
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from gndpo.rows import Distributions, likeliest, scatter
from gndpo.sampled import logp_at

VIEWS = (
    "student",
    "teacher",
    "student_text",
    "teacher_text",
    "teacher_degraded",
    "teacher_black",
)
"""Weights and rendering of the prompt: _text without the image, _degraded with a coarse one, _black
with a black one of the same size."""

Request = tuple[Any, ...]
"""A quantity of a view: ("logp",), ("entropy",), ("top_k_ids", k), ("top_k_logp", k),
("at_top_k", view, k), ("kl", view)."""


class View:
    """One view's scores. A quantity is computed on first reading, chunk by chunk, and kept; what
    was read is known."""

    def __init__(
        self,
        name: str,
        ids_BT: Tensor,
        mask_BT: Tensor,
        rows: Distributions | None,
        known: Mapping[Request, Tensor] | None = None,
        others: Mapping[str, "View"] | None = None,
    ) -> None:
        self.name, self.ids_BT, self.mask_BT = name, ids_BT, mask_BT
        self.known: dict[Request, Tensor] = dict(known or {})
        self.others: Mapping[str, View] = {} if others is None else others
        self._rows = rows
        self.whole = False

    @property
    def rows(self) -> Distributions:
        """The whole distributions; reading them keeps them in memory for the update."""
        self.whole = True
        if self._rows is None:
            raise KeyError(
                f"the {self.name} view's whole distribution was not asked for at start-up"
            )
        return self._rows

    @property
    def logp_BT(self) -> Tensor:
        """log pi(y_t), [B, T]."""
        return self.read(("logp",))

    @property
    def entropy_BT(self) -> Tensor:
        """-sum_v pi log pi, [B, T]."""
        return self.read(("entropy",))

    def top_k(self, k: int) -> tuple[Tensor, Tensor]:
        """The k likeliest ids and their log-probabilities, [B, T, K] each, not renormalized."""
        return self.read(("top_k_ids", k)), self.read(("top_k_logp", k))

    def at_top_k(self, other: str, k: int) -> Tensor:
        """This view's log-probabilities of another view's k likeliest ids, [B, T, K]."""
        return self.read(("at_top_k", other, k))

    def at(self, ids_BTK: Tensor) -> Tensor:
        """Log-probabilities of any ids, [B, T, K]; needs the whole distribution."""
        return scatter(logp_at(self.rows, ids_BTK[self.mask_BT]), self.mask_BT)

    def kl(self, other: str) -> Tensor:
        """KL(this || other), [B, T], over the whole vocabulary."""
        return self.read(("kl", other))

    def read(self, request: Request) -> Tensor:
        self.read_all([request])
        return self.known[request]

    def read_all(self, requests: Iterable[Request]) -> None:
        """Compute what is not known yet, all by one reading of the vocabulary."""
        new = [request for request in requests if request not in self.known]
        if not new:
            return
        if self._rows is None:
            raise KeyError(f"{new[0]} of the {self.name} view was not asked for at start-up")
        asked = {request: self._ids(request) for request in new}
        few = [ids_NK for ids_NK in asked.values() if ids_NK is not None]
        if len(few) == len(new):
            widths = [ids_NK.shape[-1] for ids_NK in few]
            found = torch.split(logp_at(self._rows, torch.cat(few, -1)), widths, -1)
        else:
            chunks = [self._chunk(asked, part) for part in self._rows.chunks()]
            found = tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))
        for request, x_N in zip(new, found, strict=True):
            own_N = x_N[:, 0] if request == ("logp",) else x_N
            self.known[request] = scatter(own_N, self.mask_BT)

    def _ids(self, request: Request) -> Tensor | None:
        """The ids that a request names, [N, K]; None where it is about all of them."""
        match request:
            case ("logp",):
                return self.ids_BT[self.mask_BT][:, None]
            case ("at_top_k", other, k):
                return self.others[other].read(("top_k_ids", k))[self.mask_BT]
            case _:
                return None

    def _chunk(self, requests: Mapping[Request, Tensor | None], part: slice) -> list[Tensor]:
        """Every request, with the ids that it names, at the tokens of a chunk."""
        assert self._rows is not None
        logp_nV = self._rows.log_probs(part)
        likely = functools.cache(functools.partial(likeliest, logp_nV))

        def quantity(request: Request, ids_NK: Tensor | None) -> Tensor:
            match request:
                case _ if ids_NK is not None:
                    return logp_nV.gather(-1, ids_NK[part])
                case ("entropy",):
                    return -logp_nV.exp().mul_(logp_nV).sum(-1)
                case ("top_k_ids", k):
                    return likely(k)[1]
                case ("top_k_logp", k):
                    return likely(k)[0]
                case ("kl", other):
                    other_rows = self.others[other]._rows
                    assert other_rows is not None
                    return (logp_nV - other_rows.log_probs(part)).mul_(logp_nV.exp()).sum(-1)
                case _:
                    raise KeyError(request)

        return [quantity(request, ids_NK) for request, ids_NK in requests.items()]


def make_views(
    ids_BT: Tensor, mask_BT: Tensor, rows: Mapping[str, Distributions]
) -> dict[str, View]:
    """Views over whole distributions, each able to see the others (for KL and top-k supports)."""
    views: dict[str, View] = {}
    for name, whole in rows.items():
        views[name] = View(name, ids_BT, mask_BT, whole, others=views)
    return views
