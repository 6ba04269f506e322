"""Bytes of what a step keeps in memory, item by item, for each of its phases.

Compared with what is allocated on a CPU (tests/memory): weights, masters, gradients,
optimizer states and caches exactly; the update's peak within 15%, forwards without gradients
within 20%.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from gndpo.memory.activations import language_layer, layers_of, vision_layer
from gndpo.memory.sizes import Sizes
from gndpo.models.packing import MASKED
from gndpo.models.parts import trained
from gndpo.rows import WIDTH, rows_at_once

MASTER = 4
"""Bytes per number of master copies; of gradients and optimizer states too, more where the
parameter itself has more."""


def tensor_bytes(tensor: Any) -> int:
    """What a tensor occupies here; of a quantized one, what it is made of."""
    if isinstance(tensor, DTensor):
        return tensor_bytes(tensor.to_local())
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return sum(tensor_bytes(getattr(tensor, name)) for name in names)
    return int(tensor.numel() * tensor.element_size())


def weight_bytes(models: Iterable[nn.Module], known: Iterable[nn.Module] = ()) -> int:
    """Parameters and buffers, each once, without those of the models already `known`."""
    counted = {id(x) for model in known for x in tensors(model)}
    found = {id(x): x for model in models for x in tensors(model)}
    return sum(tensor_bytes(x) for key, x in found.items() if key not in counted)


def tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def gradient_bytes(student: nn.Module) -> int:
    bytes_of = {p: tensor_bytes(p) for p in trained(student).values()}
    return sum(n * max(MASTER, p.itemsize) // p.itemsize for p, n in bytes_of.items())


def state(
    student: PreTrainedModel, teachers: Sequence[PreTrainedModel], optimizer_states: int
) -> dict[str, int]:
    """What stays from step to step."""
    gradients = gradient_bytes(student)
    narrow = [p for p in trained(student).values() if p.itemsize < MASTER]
    return {
        "student": weight_bytes([student]),
        "masters": sum(MASTER * p.numel() for p in narrow),
        "gradients": gradients,
        "optimizer": optimizer_states * gradients,
        "teacher": weight_bytes(teachers, [student]),
    }


def step(student: nn.Module, optimizer_states: int) -> dict[str, int]:
    """While the optimizer works the masters stand in for the narrow weights, which are gone; Adam
    takes one more number per parameter on an accelerator, where it does all at once."""
    narrow = sum(tensor_bytes(p) for p in trained(student).values() if p.itemsize < MASTER)
    temporary = gradient_bytes(student) if optimizer_states > 1 else 0
    return {
        "student": weight_bytes([student]) - narrow,
        "optimizer temporaries": temporary,
    }


def cache_bytes(model: PreTrainedModel, rows: int, tokens: int) -> int:
    """Keys and values of every layer; sliding layers keep them all too, as `Policy.encode` makes
    its cache."""
    text = model.config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    per_token = 2 * text.num_hidden_layers * text.num_key_value_heads * head * model.dtype.itemsize
    return int(rows * tokens * per_token)


def forward(model: PreTrainedModel, prompts: int, rows: int, sizes: Sizes) -> int:
    """The layer at work in a forward without gradients: of the tower, of the prompts, or of the
    answers."""
    layer, L, T = language_layer(model), sizes.prompt_tokens, sizes.answer_tokens
    shapes = [(prompts, L, L), (rows, T - 1, sizes.cached)]
    work = [layer.alive(*shape) for shape in shapes]
    if sizes.patches:
        n = prompts * sizes.patches
        work.append(vision_layer(model).alive(1, n, n))
    return max(work)


def encoding(student: PreTrainedModel, sizes: Sizes) -> dict[str, int]:
    """Of the prompts that are answered next."""
    return {
        "cache": cache_bytes(student, sizes.at_once, sizes.prompt_tokens),
        "encoding": forward(student, sizes.at_once, 0, sizes),
    }


def rollout(student: PreTrainedModel, sizes: Sizes) -> dict[str, int]:
    """The cache, that of one layer twice while it grows; 20 bytes per row and
    id (float32 log-probabilities, their cumulative sum in float64)."""
    rows = sizes.written_rows
    cache = cache_bytes(student, rows, sizes.cached)
    growing = cache // student.config.get_text_config().num_hidden_layers
    return {"cache": cache + growing, "sampling": 20 * rows * ids_of(student)}


def scoring(models: Sequence[PreTrainedModel], sizes: Sizes) -> dict[str, int]:
    """One forward at a time, of the model that needs most; the head takes 12 bytes per row and id
    where two views are compared."""
    return {
        "cache": max(cache_bytes(model, sizes.rows, sizes.cached) for model in models),
        "scoring": max(forward(model, sizes.P, sizes.rows, sizes) for model in models),
        "head": 12 * head_rows(sizes, ids_of(models[0])) * ids_of(models[0]),
    }


def kept(
    student: PreTrainedModel, teachers: Sequence[PreTrainedModel], sizes: Sizes
) -> dict[str, int]:
    """Hidden states of the views that are kept whole, and a copy of the student's head for each of
    its own where it trains."""
    own = [view for view in sizes.whole if view.startswith("student")]
    tokens = sizes.prompts * sizes.group * sizes.answer_tokens
    others = len(sizes.whole) - len(own)
    widest = max([width_of(model) for model in teachers], default=0)
    output: Any = student.get_output_embeddings()  # type: ignore[no-untyped-call]
    head = tensor_bytes(output.weight) if output.weight.requires_grad else 0
    return {
        "kept distributions": tokens * (len(own) * width_of(student) + others * widest),
        "frozen head": len(own) * head,
    }


def update(student: PreTrainedModel, sizes: Sizes) -> dict[str, int]:
    """What every trained view saves for the backward pass (`activations`), beside it the
    gradients of one layer, and the head's chunk.

    With checkpointing a prompt and its answers are one row of S tokens: every layer's input, the
    mask, and one layer in full. The mask of the answers exists once; that of the prompts is made
    anew by every layer, and so are the scores of eager attention.
    """
    layer, count = language_layer(student), len(layers_of(student, "language"))
    P, S = sizes.P, sizes.packed
    scored = student.config._attn_implementation == "eager"
    if sizes.checkpointing:
        saved = count * P * S * layer.width
        masks = mask_bytes(student, P * S * S) + scored * layer.pairs(P, S, S)
        work = layer.saved(P, S, S)
    else:
        L, T = sizes.prompt_tokens, sizes.answer_tokens
        passes = [(P, L, L), (sizes.rows, T - 1, sizes.cached)]
        saved = count * sum(layer.saved(*shape) for shape in passes)
        saved -= P * (L - 1) * layer.feed  # the last layer's: `gndpo.policy.ends_only`
        masks = mask_bytes(student, sizes.rows * (T - 1) * sizes.cached)
        masks += count * (layer.pairs(*passes[0]) + scored * layer.pairs(*passes[1]))
        work = max(layer.alive(*shape) for shape in passes)
    last = P * S * (2 * width_of(student) + 4 * width_of(student) // student.dtype.itemsize)
    return {
        "activations": len(sizes.trained) * (saved + last) + work,
        "attention masks": len(sizes.trained) * masks,
        "vision": vision(student, sizes),
        "head": head(student, sizes),
    }


def mask_bytes(model: PreTrainedModel, pairs: int) -> int:
    """One number per pair of token and key, for each kind of layer (`gndpo.models.packing`)."""
    text = model.config.get_text_config()
    slides = "sliding_attention" in (getattr(text, "layer_types", None) or ())
    takes = text._attn_implementation in MASKED
    return takes * (1 + slides) * pairs * model.dtype.itemsize


def vision(student: PreTrainedModel, sizes: Sizes) -> int:
    """What the tower saves: nothing where nothing of it trains."""
    layers = layers_of(student, "vision")
    if not sizes.patches or not any(p.requires_grad for x in layers for p in x.parameters()):
        return 0
    layer, n = vision_layer(student), sizes.P * sizes.patches
    if sizes.checkpointing:
        return len(layers) * n * layer.width + 2 * layer.saved(1, n, n)
    return len(layers) * layer.saved(1, n, n)


def head(student: PreTrainedModel, sizes: Sizes) -> int:
    """Of the logits that exist at a time: 20 bytes each, and 4 more for every view that is kept
    whole (measured; a Jensen-Shannon mix of directions takes 12 more); 8 where a token has only a
    few ids that count. And the gradient of the weights, before it joins what there is."""
    ids, tokens = ids_of(student), sizes.rows * sizes.answer_tokens
    output: Any = student.get_output_embeddings()  # type: ignore[no-untyped-call]
    gradient = sum(p.numel() * max(MASTER, p.itemsize) for p in trained(output).values())
    if sizes.whole:
        return gradient + (20 + 4 * len(sizes.whole)) * head_rows(sizes, ids) * ids
    at_most = rows_at_once(sizes.portion.chunk, ids) * ids
    return gradient + 8 * min(tokens * min(ids, WIDTH), at_most)


def head_rows(sizes: Sizes, ids: int) -> int:
    return min(rows_at_once(sizes.portion.chunk, ids), sizes.rows * sizes.answer_tokens)


def ids_of(model: PreTrainedModel) -> int:
    return int(model.config.get_text_config().vocab_size)


def width_of(model: PreTrainedModel) -> int:
    """Bytes of a hidden state."""
    return int(model.config.get_text_config().hidden_size * model.dtype.itemsize)
