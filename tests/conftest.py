"""Shared by all tests: strategies by name, losses from dense logits, random scores, a tiny random
vision-language model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import hypothesis
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from transformers import InternVLConfig, InternVLForConditionalGeneration

from gndpo.build import build_advantage
from gndpo.loss import Loss, Surrogate, answer_loss
from gndpo.models.vocabulary import Vocabulary
from gndpo.pieces import Piece
from gndpo.policy import Policy
from gndpo.prompts import Rendering
from gndpo.rows import DenseHead, Rows
from gndpo.scores import Scores
from gndpo.signal import Signal, Strategy
from gndpo.surrogates import reinforce, token_weights
from gndpo.views import VIEWS

CONF = Path(__file__).parents[1] / "conf"
IMAGE, EOS, PAD = 40, 1, 2

hypothesis.settings.register_profile(
    "fast", derandomize=True, deadline=None, max_examples=25, database=None
)
hypothesis.settings.load_profile("fast")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_strategy() -> Callable[..., Strategy]:
    """make_strategy("gndpo", clamp=None): the strategy of conf/advantage/gndpo.yaml with knobs
    changed."""

    def make(name: str, **knobs: Any) -> Strategy:
        section = OmegaConf.load(CONF / "advantage" / f"{name}.yaml")
        return build_advantage(cast(DictConfig, OmegaConf.merge(section, knobs)))

    return make


@dataclass(frozen=True)
class Outcome:
    """What a strategy does to dense logits: its signal, the loss, d loss / d logits per trained
    view."""

    scores: Scores
    signal: Signal
    loss: Loss
    gradients: Mapping[str, Tensor]

    @property
    def value(self) -> float:
        return self.loss.total.item()


def outcome_of(
    strategy: Strategy,
    logits: Mapping[str, Tensor],
    *,
    current: Mapping[str, Tensor] | None = None,
    surrogate: Surrogate = reinforce,
    aggregation: str = "sequence_mean_token_mean",
    chunk: int = 4096,
    **batch: Any,
) -> Outcome:
    """Scores from `logits`, one signal, then loss and gradients at the logits `current` (default:
    the same)."""
    scores = Scores.from_logits(**logits, **batch)
    signal = strategy(scores)
    trained = {"student", *(match.view for match in signal.matches)}
    leaves = {view: (current or logits)[view].detach().clone() for view in sorted(trained)}
    for leaf in leaves.values():
        leaf.requires_grad_()
    rows = {view: Rows(leaf[scores.mask_BT], DenseHead(), chunk) for view, leaf in leaves.items()}
    weight_BT = token_weights(scores.mask_BT, aggregation)
    loss = answer_loss(rows, scores, signal, surrogate, weight_BT, rows_of(slice(None), scores))
    loss.total.backward()
    gradients = {view: leaf.grad for view, leaf in leaves.items() if leaf.grad is not None}
    return Outcome(scores, signal, loss, gradients)


def rows_of(part: slice, scores: Scores) -> Piece:
    """Some of the batch's answers, each to a prompt of its own."""
    which = torch.arange(len(scores.ids_BT))[part]
    return Piece(which, which)


@pytest.fixture(scope="session")
def piece() -> Callable[[slice, Scores], Piece]:
    return rows_of


@pytest.fixture(scope="session")
def outcome() -> Callable[..., Outcome]:
    return outcome_of


@dataclass(frozen=True)
class Dense:
    """Random logits of the four views, and the rest of a batch: `outcome(strategy, dense.logits,
    **dense.batch)`."""

    logits: dict[str, Tensor]
    batch: dict[str, Any]

    def scores(self) -> Scores:
        return Scores.from_logits(**self.logits, **self.batch)


def dense_of(seed: int = 0, B: int = 6, T: int = 5, V: int = 40, scale: float = 2.0) -> Dense:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.double)

    lengths = torch.randint(1, T + 1, (B,), generator=generator)
    lengths[0] = T
    return Dense(
        {view: scale * normal(B, T, V) for view in VIEWS},
        {
            "ids": torch.randint(V, (B, T), generator=generator),
            "mask": torch.arange(T) < lengths[:, None],
            "uniform": torch.rand(B, T, generator=generator, dtype=torch.double),
            "group": torch.arange(B) // 2,
            "reward": torch.rand(B, generator=generator, dtype=torch.double),
        },
    )


@pytest.fixture(scope="session")
def dense() -> Callable[..., Dense]:
    return dense_of


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    """Ids 0..41; head rows 42..47 lie beyond the tokenizer. Two EOS ids, so that random answers
    end."""
    return Vocabulary(size=42, eos=(EOS, 3), pad=PAD, forbidden=(PAD, IMAGE, 41))


def tiny_policy(vocabulary: Vocabulary, seed: int) -> Policy:
    """A random InternVL (ViT + Qwen3) in float64: 32x32 images, 16 image tokens."""
    text = {
        "model_type": "qwen3",
        "vocab_size": 48,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "tie_word_embeddings": False,
        "initializer_range": 0.3,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": [32, 32],
        "patch_size": [4, 4],
        "initializer_range": 0.3,
    }
    config = InternVLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=IMAGE,
        image_seq_length=16,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    return Policy(InternVLForConditionalGeneration(config).eval().double(), vocabulary)


@pytest.fixture(scope="session")
def student(vocabulary: Vocabulary) -> Policy:
    return tiny_policy(vocabulary, seed=0)


@pytest.fixture(scope="session")
def teacher(vocabulary: Vocabulary) -> Policy:
    return tiny_policy(vocabulary, seed=1)


@pytest.fixture(scope="session")
def renderings() -> dict[str, Rendering]:
    """Three prompts of different lengths, one image each; "text" drops image and placeholder
    tokens."""
    generator = torch.Generator().manual_seed(7)
    words = [torch.randint(4, 40, (n,), generator=generator).tolist() for n in (3, 6, 4)]
    pixels = torch.randn(3, 3, 32, 32, generator=generator, dtype=torch.double)
    image = left_padded([[w[0], *[IMAGE] * 16, *w[1:]] for w in words], one_each(pixels))
    coarse = pixels.mean((-1, -2), keepdim=True).expand_as(pixels)
    return {
        "image": image,
        "text": left_padded(words, ({}, {}, {})),
        "degraded": replace(image, images=one_each(coarse)),
        "black": replace(image, images=one_each(torch.zeros_like(pixels))),
    }


def one_each(pixels: Tensor) -> tuple[Mapping[str, Tensor], ...]:
    return tuple({"pixel_values": x[None]} for x in pixels)


def left_padded(prompts: list[list[int]], images: tuple[Mapping[str, Tensor], ...]) -> Rendering:
    L = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (L - len(prompt)) + prompt for prompt in prompts])
    return Rendering(ids, torch.tensor([len(prompt) for prompt in prompts]), images)
