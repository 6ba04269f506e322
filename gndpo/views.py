"""Views: what one model says about the answers under one rendering of the prompt.

Per token, in nats, exactly 0 at padding.
Legend of the axes: B answers, T answer tokens (right-padded), N valid tokens in row-major order,
V vocabulary, H hidden size, K top-k.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from gndpo.rows import Distributions, likeliest, scatter

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
        ids_NK = ids_BTK[self.mask_BT]
        rows = self.rows
        parts = [rows.log_probs(part).gather(-1, ids_NK[part]) for part in rows.chunks()]
        return scatter(torch.cat(parts), self.mask_BT)

    def kl(self, other: str) -> Tensor:
        """KL(this || other), [B, T], over the whole vocabulary."""
        return self.read(("kl", other))

    def read(self, request: Request) -> Tensor:
        self.read_all([request])
        return self.known[request]

    def read_all(self, requests: Iterable[Request]) -> None:
        """What is not known yet, all of it in one reading of the vocabulary."""
        new = [request for request in requests if request not in self.known]
        if not new:
            return
        if self._rows is None:
            raise KeyError(f"{new[0]} of the {self.name} view was not asked for at start-up")
        chunks = [
            [self._compute(request, part, logp_nV) for request in new]
            for part in self._rows.chunks()
            for logp_nV in [self._rows.log_probs(part)]
        ]
        for request, parts in zip(new, zip(*chunks, strict=True), strict=True):
            self.known[request] = scatter(torch.cat(parts), self.mask_BT)

    def _compute(self, request: Request, part: slice, logp_NV: Tensor) -> Tensor:
        match request:
            case ("logp",):
                return logp_NV.gather(-1, self.ids_BT[self.mask_BT][part, None])[:, 0]
            case ("entropy",):
                return -(logp_NV.exp() * logp_NV).sum(-1)
            case ("top_k_ids", k):
                return likeliest(logp_NV, k)[1]
            case ("top_k_logp", k):
                return likeliest(logp_NV, k)[0]
            case ("at_top_k", other, k):
                ids_NK = self.others[other].read(("top_k_ids", k))[self.mask_BT][part]
                return logp_NV.gather(-1, ids_NK)
            case ("kl", other):
                other_rows = self.others[other]._rows
                assert other_rows is not None
                return (logp_NV.exp() * (logp_NV - other_rows.log_probs(part))).sum(-1)
            case _:
                raise KeyError(request)


def make_views(
    ids_BT: Tensor, mask_BT: Tensor, rows: Mapping[str, Distributions]
) -> dict[str, View]:
    """Views over whole distributions, each able to see the others (for KL and top-k supports)."""
    views: dict[str, View] = {}
    for name, whole in rows.items():
        views[name] = View(name, ids_BT, mask_BT, whole, others=views)
    return views
