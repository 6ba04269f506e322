"""What a step cannot go below: the FLOPs of its matrix products over the machine's rate, and the
bytes it must move over the machine's copy bandwidth, whichever takes longer in each phase.

Counted is full-vocabulary reverse KL: every phase reads every prompt, once for its whole group, and
every answer. Exponentials, norms and other work per element are left out.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks import pairs
from benchmarks.cases import Case
from gndpo.models.parts import part_of

FLOAT = 4  # bytes
SQUARE = 2048
"""Side of the matrices whose product is the machine's best rate."""
COPIED = 2**26
"""Numbers in the tensor whose copy is the machine's bandwidth."""
REPEATS = 3
Rates = dict[str, float]
TRAFFIC = 10
"""How often an update reads or writes a weight's worth: the weight forward and backward, its
gradient out and in, and AdamW's weight and two moments in and out."""


@dataclass(frozen=True)
class Model:
    """weights: in matrices, by part. head: V H. layers, width: of the language model's attention,
    heads times their size. keys: numbers that the cache holds per token. patches, features: of a
    prompt's images, before and behind the tower. seeing: FLOPs of the tower's attention."""

    weights: dict[str, int]
    head: int
    layers: int
    width: int
    keys: int
    patches: int
    features: int
    seeing: int
    parameters: int

    def images(self, count: int) -> int:
        """FLOPs of the tower and the projector."""
        vision = 2 * self.weights["vision"] * self.patches + self.seeing
        return count * (vision + 2 * self.weights["projector"] * self.features)

    def reads(self, tokens: int, pairs: int) -> int:
        """FLOPs of the language model without its head. pairs: of a token and one that it sees."""
        return 2 * self.weights["language"] * tokens + 4 * self.layers * self.width * pairs

    def answers(self, case: Case) -> int:
        """FLOPs of every prompt once and its answers behind it; the last token is read by none."""
        P, L, T = case.prompts, case.prompt, case.answer
        seen = P * L * (L + 1) // 2 + case.answers * sum(range(L + 1, L + T))
        return self.images(P) + self.reads(P * L + case.answers * (T - 1), seen)


def model_of(model: Any, *, tiles: int, side: int, features: int) -> Model:
    """Of a vision-language model; weights on the meta device will do. side: pixels of a tile's;
    features: placeholders of a tile."""
    text, vision = model.config.get_text_config(), model.config.vision_config
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    weights = dict.fromkeys(("vision", "projector", "language"), 0)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
            weights[part_of(name + ".")] += module.weight.numel()
    head = text.vocab_size * text.hidden_size
    weights["language"] -= head
    windowed = hasattr(vision, "fullatt_block_indexes")
    patches = (side // first(vision.patch_size)) ** 2 + (not windowed)  # and one of the tower's own
    return Model(
        weights=weights,
        head=head,
        layers=text.num_hidden_layers,
        width=text.num_attention_heads * size,
        keys=2 * text.num_hidden_layers * text.num_key_value_heads * size,
        patches=tiles * patches,
        features=tiles * features,
        seeing=tiles * tower_attention(vision, patches),
        parameters=sum(p.numel() for p in model.parameters()),
    )


def of_case(case: Case, which: str) -> Model:
    """Of a pair's student or teacher."""
    tiles, side = pairs.tiles(case), pairs.side(case)
    return model_of(on_meta(case, which), tiles=tiles, side=side, features=pairs.features(side))


def on_meta(case: Case, which: str) -> nn.Module:
    recipe = pairs.recipe(case, which)
    with torch.device("meta"):
        model: nn.Module = recipe.model(recipe.config)
    return model


def tower_attention(vision: Any, rows: int) -> int:
    """FLOPs of an image's attention; the layers of some towers look at windows."""
    layers = getattr(vision, "depth", None) or vision.num_hidden_layers
    full = len(getattr(vision, "fullatt_block_indexes", range(layers)))
    window = (getattr(vision, "window_size", 0) // first(vision.patch_size)) ** 2
    return 4 * vision.hidden_size * rows * (full * rows + (layers - full) * window)


def first(size: int | list[int] | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else size[0]


@dataclass(frozen=True)
class Work:
    """FLOPs and bytes of a phase."""

    flops: int
    bytes: int

    def seconds(self, rate: float, bandwidth: float) -> float:
        return max(self.flops / rate, self.bytes / bandwidth)


def work(case: Case, student: Model, teacher: Model, size: int = FLOAT) -> dict[str, Work]:
    """Of a step of `full_kl`, by phase. The teacher's head counts where both distributions meet.
    size: bytes of a weight."""
    L, T = case.prompt, case.answer
    read = student.weights["language"] + student.head
    cached = student.keys * sum(case.prompts * L + case.answers * t for t in range(1, T))
    forward = student.answers(case) + 2 * case.tokens * student.head
    heads = 2 * case.tokens * teacher.head
    return {
        "rollout": Work(forward, size * (T * read + cached)),
        "score": Work(teacher.answers(case), size * (teacher.parameters - teacher.head)),
        "update": Work(3 * forward + heads, FLOAT * (TRAFFIC * student.parameters + teacher.head)),
    }


def fastest(run: Callable[[], object]) -> float:
    """Seconds of the fastest of several runs, behind one that does not count."""
    run()
    return min(timed(run) for _ in range(REPEATS))


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def rates(
    threads: int, device: str = "cpu", dtype: torch.dtype = torch.float32, side: int = SQUARE
) -> Rates:
    """What the machine does per second with so many threads. gemm: FLOPs of products of square
    matrices; copy: bytes read and written."""
    torch.set_num_threads(threads)
    square = torch.randn(side, side, device=device, dtype=dtype)
    numbers = torch.zeros(COPIED, device=device)
    other = torch.empty_like(numbers)
    return {
        "gemm": 2 * side**3 / fastest(lambda: square @ square),
        "copy": 2 * FLOAT * COPIED / fastest(lambda: other.copy_(numbers)),
    }


def shaped(case: Case) -> float:
    """FLOPs per second in the products of the student's layers, as large as in an update."""
    rows = case.prompts * case.prompt + case.answers * (case.answer - 1)
    layers = [
        module
        for name, module in on_meta(case, "student").named_modules()
        if isinstance(module, nn.Linear) and "language_model.layers.0." in name
    ]
    products = [
        (torch.randn(rows, x.in_features), torch.randn(x.in_features, x.out_features))
        for x in layers
    ]
    flops = sum(2 * x.numel() * w.shape[1] for x, w in products)
    return flops / fastest(lambda: [x @ w for x, w in products])
