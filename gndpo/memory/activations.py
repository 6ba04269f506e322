"""Bytes that a forward keeps for its backward pass, layer by layer, from a model's modules and
config; no tensor is needed, a model on the meta device will do.

Legend: n tokens, k keys they look at, H width, I of the feed-forward, Q and K of all query and of
all key heads, e bytes of a number. Every count below was compared with the tensors that autograd
really saves (tests/memory): within 5% for the language layers of all families, 10%
with low-rank matrices, 25% for whole models with a trained vision tower. Mixtures of experts are
not counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from gndpo.models.parts import part_of

READS = {
    "attention": ("q_proj", "k_proj", "v_proj", "qkv"),
    "feed_forward": ("gate_proj", "up_proj", "fc1", "linear_fc1"),
    "down": ("down_proj", "fc2", "linear_fc2"),
}
"""Linear layers that read the same tensor: it is saved once."""


@dataclass(frozen=True)
class Layer:
    """What one layer saves, bytes: per token, per key, per pair of token and key. width: bytes of
    its input, per token; work: of what comes and goes while it is computed, per token; feed: of
    what the feed-forward saves, per token."""

    token: int
    key: int
    pair: int
    width: int
    work: int
    feed: int

    def saved(self, rows: int, tokens: int, keys: int) -> int:
        """Without what grows with tokens * keys."""
        return rows * (tokens * self.token + keys * self.key)

    def alive(self, rows: int, tokens: int, keys: int) -> int:
        """Without gradients: one layer at work."""
        attended = rows * keys * self.key + self.pairs(rows, tokens, keys)
        return max(rows * tokens * self.work, rows * tokens * self.width + attended)

    def pairs(self, rows: int, tokens: int, keys: int) -> int:
        """Scores (eager) or the mask, which SDPA turns into numbers in every layer anew."""
        return rows * tokens * keys * self.pair


def layers_of(model: PreTrainedModel, part: str) -> list[nn.Module]:
    """The layers of the vision tower or of the language model."""
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, GradientCheckpointingLayer) and part_of(name) == part
    ]


def language_layer(model: PreTrainedModel) -> Layer:
    """Under a padding mask, as prompts and answers are read."""
    config = model.config.get_text_config()
    attention = config._attn_implementation
    shape = Shape.of(config, model.dtype.itemsize)
    heads, e = config.num_attention_heads, shape.e
    layer = layers_of(model, "language")[0]
    if attention == "eager":  # softmax in float32, then back in the model's dtype
        pair = heads * (4 if e == 4 else 4 + e)
    else:
        pair = e if attention == "sdpa" else 0
    # Every query head gets keys of its own under a mask; of a single key head SDPA takes a view.
    repeated = attention == "eager" or (attention == "sdpa" and config.num_key_value_heads > 1)
    key = 2 * e * (shape.Q if repeated else shape.K)
    work, feed = work_bytes(layer, shape), feed_bytes(layer, shape)
    return Layer(token_bytes(layer, shape), key, pair, e * shape.H, work, feed)


def vision_layer(model: PreTrainedModel) -> Layer:
    """Patches see each other without a mask."""
    shape = Shape.of(model.config.vision_config, model.dtype.itemsize)
    layer = layers_of(model, "vision")[0]
    key, work, feed = 2 * shape.e * shape.Q, work_bytes(layer, shape), feed_bytes(layer, shape)
    return Layer(token_bytes(layer, shape), key, 0, shape.e * shape.H, work, feed)


@dataclass(frozen=True)
class Shape:
    H: int
    I: int  # noqa: E741
    Q: int
    K: int
    head: int
    e: int

    @staticmethod
    def of(config: Any, itemsize: int) -> "Shape":
        heads = config.num_attention_heads
        head = getattr(config, "head_dim", None) or config.hidden_size // heads
        keys = getattr(config, "num_key_value_heads", None) or heads
        return Shape(
            config.hidden_size, config.intermediate_size, heads * head, keys * head, head, itemsize
        )


def token_bytes(layer: nn.Module, shape: Shape) -> int:
    """norms + inputs of linear layers that train + 2Qe of queries and attention's output + 4 per
    head (log-sum-exp) + the feed-forward: 3Ie with a gate (gate, its activation, up), else Ie."""
    scales = [
        p for name, p in layer.named_parameters() if "lambda_" in name and p.requires_grad
    ]  # InternViT's, of the branches' outputs
    return (
        sum(norm_bytes(name, module, shape) for name, module in norms(layer))
        + sum(linear_inputs(layer, shape).values())
        + 2 * shape.Q * shape.e
        + 4 * shape.Q // shape.head
        + (3 if gated(layer) else 1) * shape.I * shape.e
        + sum(p.numel() for p in scales) * shape.e
    )


def feed_bytes(layer: nn.Module, shape: Shape) -> int:
    """The feed-forward's part of it, without its norms."""
    inputs = linear_inputs(layer, shape)
    inner = (3 if gated(layer) else 1) * shape.I * shape.e
    return inner + sum(inputs.get(name, 0) for name in ("feed_forward", "down"))


def work_bytes(layer: nn.Module, shape: Shape) -> int:
    """Beside the residual stream: 4I with a gate, else 2I; at least what attention takes."""
    feed = (4 if gated(layer) else 2) * shape.I
    return shape.e * (2 * shape.H + max(feed, 3 * shape.Q))


def gated(layer: nn.Module) -> bool:
    return any(name.endswith("gate_proj") for name, _ in layer.named_modules())


def norms(layer: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in layer.named_modules():
        if type(module).__name__.endswith("Norm"):
            yield name, module


def norm_bytes(name: str, norm: Any, shape: Shape) -> int:
    """LayerNorm: its input, mean and deviation. RMSNorm: its input in float32, one number per
    norm, and where its weight trains the normalized input (Gemma: in float32)."""
    width, times = int(norm.weight.numel()), 1
    if width == shape.head and name.endswith(("q_norm", "k_norm")):
        times = (shape.Q if name.endswith("q_norm") else shape.K) // shape.head
    if isinstance(norm, nn.LayerNorm):
        return width * shape.e + 8
    again = 4 if type(norm).__name__.startswith("Gemma") else shape.e
    return times * (4 * width + 4 + (again * width if norm.weight.requires_grad else 0))


def linear_inputs(layer: nn.Module, shape: Shape) -> dict[str, int]:
    """Inputs of the linear layers that train, each once. Low-rank matrices in another dtype than
    the model (peft: float32) each keep a copy of their own. Attention's output is counted there."""
    found: dict[str, int] = {}
    for name, module in layer.named_modules():
        if not isinstance(module, nn.Linear) or not module.weight.requires_grad:
            continue
        size, parts = module.weight.itemsize, set(name.split("."))
        same = size == shape.e and "lora_B" not in parts
        shared = [key for key, reads in READS.items() if parts & set(reads)]
        if same and not shared:
            continue
        found[shared[0] if same else name] = module.in_features * size
    return found
