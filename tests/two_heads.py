"""A student and a teacher of a few ids, with heads of their own: for tests of how the vocabulary is
read."""

import torch
from torch import nn

from gndpo.heads import Head
from gndpo.loss import answer_loss
from gndpo.models.vocabulary import Vocabulary
from gndpo.pieces import Piece
from gndpo.rows import Rows, wide
from gndpo.scores import Scores
from gndpo.surrogates import reinforce
from gndpo.views import make_views

V, H, B, T = 23, 5, 4, 3
N = B * T
IDS_BT = torch.randint(1, 9, (B, T), generator=torch.Generator().manual_seed(0))
EVERY_BT = torch.ones(B, T, dtype=torch.bool)
KINDS = {
    "plain": {},
    "bias": {"bias": True},
    "warm": {"temperature": 0.7},
    "capped": {"softcap": 3.0, "bias": True, "temperature": 2.0},
}


def head_of(seed, ids, dtype, width, *, bias=False, temperature=1.0, softcap=None):
    """Two rows of weights lie beyond the tokenizer's ids."""
    torch.manual_seed(seed)
    vocabulary = Vocabulary(size=ids, eos=(1,), pad=0, forbidden=(21, 0, 9))
    linear = nn.Linear(width, ids + 2, bias=bias, dtype=dtype)
    return Head(linear, vocabulary, temperature, softcap)


def hidden_of(seed, n, dtype, width, equal):
    generator = torch.Generator().manual_seed(seed)
    hidden_nH = torch.randn(n, width, generator=generator, dtype=torch.double).to(dtype)
    return hidden_nH[:1].repeat(n, 1) if equal else hidden_nH


def ids_at_once(monkeypatch, ids):
    """As if WIDTH were so many."""
    for module in ("gndpo.sampled", "gndpo.loss"):
        monkeypatch.setattr(f"{module}.WIDTH", ids)


class World:
    """A student and a teacher of another width, the views that a strategy may read, and a trained
    student."""

    def __init__(self, kind="plain", dtype=torch.double, chunk=None, answers=B, ids=V, equal=False):
        student, teacher = (
            head_of(seed, ids, dtype, width, **KINDS[kind]) for seed, width in enumerate((H, 7))
        )
        self.heads = {"student": student, "teacher": teacher.requires_grad_(False)}
        n = answers * T
        self.views = {
            name: Rows(hidden_of(seed, n, dtype, width, equal), self.heads[who], chunk)
            for seed, (name, who, width) in enumerate(
                [
                    ("student", "student", H),
                    ("student_text", "student", H),
                    ("teacher", "teacher", 7),
                    ("teacher_text", "teacher", 7),
                ]
            )
        }
        ids_BT = IDS_BT.repeat(answers // B, 1)
        mask_BT = torch.ones_like(ids_BT).bool()
        zeros_BT = torch.zeros(ids_BT.shape, dtype=wide(dtype))
        with torch.no_grad():
            self.scores = Scores(
                ids_BT=ids_BT,
                mask_BT=mask_BT,
                views=make_views(ids_BT, mask_BT, self.views),
                author_BT=zeros_BT.long(),
                behaviour_logp_BT=zeros_BT,
                uniform_BT=zeros_BT,
                group_B=torch.arange(answers),
                reward_B=zeros_BT[:, 0],
            )
            _ = self.scores.student.logp_BT
        generator = torch.Generator().manual_seed(3)
        self.weight_BT = torch.rand(ids_BT.shape, generator=generator).to(wide(dtype))
        if equal:
            self.weight_BT[:], ids_BT[:] = 1, 5

    def current(self, *names):
        """The trained views, their hidden states leaves."""
        rows = {name: self.views[name] for name in names}
        return {
            name: Rows(x.hidden_NH.clone().requires_grad_(), x.head, x.chunk)
            for name, x in rows.items()
        }

    def loss(self, current, signal, surrogate=reinforce):
        every = torch.arange(len(self.scores.ids_BT))
        piece = Piece(every, every)
        return answer_loss(current, self.scores, signal, surrogate, self.weight_BT, piece).total

    def gradients(self, total, current):
        inputs = [rows.hidden_NH for rows in current.values()]
        inputs += [p for p in self.heads["student"].parameters() if p.requires_grad]
        return torch.autograd.grad(total, inputs)
