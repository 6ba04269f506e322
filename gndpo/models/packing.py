"""Where tokens stand and what they see: positions in a line or in a grid, and the mask of a row
that packs a prompt with all its answers."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gndpo.prompts import Rendering

MASKED = ("sdpa", "eager")
"""Ways of computing attention that take any mask."""


def positions(backbone: Any, rendering: Rendering) -> Tensor:
    """Of the prompts' tokens, padding not counted: [P, L], or [3, P, L] for models that place an
    image's tokens in a grid of time, height and width (M-RoPE)."""
    mask_PL = rendering.mask_PL
    if not any(rendering.images) or not has_grid(backbone):
        return in_grid(backbone, (mask_PL.cumsum(-1) - 1).clamp_min(0))
    grid_3PL, _ = backbone.get_rope_index(
        rendering.ids_PL,
        mm_token_type_ids=rendering.kinds["mm_token_type_ids"],
        image_grid_thw=rendering.stacked("image_grid_thw"),
        attention_mask=mask_PL.long(),
    )
    assert isinstance(grid_3PL, Tensor)
    return grid_3PL


def has_grid(backbone: Any) -> bool:
    return hasattr(backbone, "get_rope_index")


def in_grid(backbone: Any, positions_Bt: Tensor) -> Tensor:
    """Text positions as the backbone takes them: the same in every direction of a grid."""
    return positions_Bt.expand(3, -1, -1) if has_grid(backbone) else positions_Bt


def following(position_ids: Tensor) -> Tensor:
    """The position after a prompt, [P]: one more than its largest in any direction."""
    largest_P = position_ids.amax(-1)
    return (largest_P.amax(0) if largest_P.dim() == 2 else largest_P) + 1


def pack_masks(
    model: PreTrainedModel, rendering: Rendering, position_ids: Tensor, group: int, length: int
) -> Tensor | dict[str, Tensor]:
    """What each token of [prompt | answer 1 | ... | answer G] sees: its prompt, and its own answer
    up to itself."""
    line_PS = position_ids if position_ids.dim() == 2 else position_ids[0]
    return as_attention(model, visible(rendering, group, length), line_PS, line_PS)


def answer_masks(
    model: PreTrainedModel, mask_BL: Tensor, written: int, length: int, width: int
) -> Tensor | dict[str, Tensor] | None:
    """What `length` further tokens of an answer see behind their prompt and `written` tokens of
    their own, in a cache `width` wide: all up to themselves. One token without padding sees
    everything (None), and kernels that are causal by themselves need to know the padding alone."""
    B, L = mask_BL.shape
    K = L + written + length
    behind_BK = mask_BL.new_ones(B, K - L), mask_BL.new_zeros(B, width - K)
    valid_BK = torch.cat([mask_BL, *behind_BK], 1)
    if model.config._attn_implementation not in MASKED:
        return valid_BK.long()
    if length == 1 and width == K and bool(mask_BL.all()):
        return None
    order_K = torch.arange(width, device=mask_BL.device)
    order_t = order_K[L + written : K]
    return as_attention(model, valid_BK[:, None] & (order_t[:, None] >= order_K), order_t, order_K)


def visible(rendering: Rendering, group: int, length: int) -> Tensor:
    """[P, S, S], S = L + G * length: row i sees column j. An image's tokens see each other where
    the family says so (`token_type_ids`)."""
    mask_PL = rendering.mask_PL
    L, device = mask_PL.shape[1], mask_PL.device
    S = L + group * length
    answer_S = torch.arange(S - L, device=device) // max(1, length)
    owner_S = torch.cat([torch.full((L,), -1, device=device), answer_S])
    order_S = torch.arange(S, device=device)
    own_SS = (owner_S[:, None] == owner_S) | (owner_S == -1)
    valid_PS = torch.cat([mask_PL, mask_PL.new_ones(len(mask_PL), S - L)], 1)
    seen_PSS = own_SS & (order_S[:, None] >= order_S) & valid_PS[:, None, :]
    if "token_type_ids" in rendering.kinds:
        seen_PSS[:, :L, :L] |= same_image(rendering.kinds["token_type_ids"])
    return seen_PSS | torch.eye(S, dtype=torch.bool, device=device)  # padding sees itself: no NaN


def same_image(kinds_PL: Tensor) -> Tensor:
    """[P, L, L]: both tokens belong to one run of image tokens."""
    image_PL = kinds_PL == 1
    starts_PL = image_PL & ~image_PL.roll(1, -1).index_fill(-1, kinds_PL.new_zeros(1), False)
    run_PL = starts_PL.cumsum(-1).masked_fill(~image_PL, 0)
    return (run_PL[:, :, None] == run_PL[:, None, :]) & image_PL[:, :, None]


def as_attention(
    model: PreTrainedModel, seen_Bqk: Tensor, line_q: Tensor, line_k: Tensor
) -> Tensor | dict[str, Tensor]:
    """[B, 1, q, k], what is added to the scores: 0, or -inf where nothing is seen. Numbers, not
    booleans: those are turned into numbers by every layer, and kept by every one. line_q, line_k:
    where tokens stand, [q] and [k] or [B, q] and [B, k]; where layers slide, they see less than
    their window back. One mask per kind of layer, or one for all where the family has one kind."""

    def added(seen: Tensor) -> Tensor:
        zero = torch.zeros(seen.shape, dtype=model.dtype, device=seen.device)
        return zero.masked_fill_(~seen, -torch.inf)[:, None]

    text = model.config.get_text_config()
    kinds, window = (getattr(text, name, None) for name in ("layer_types", "sliding_window"))
    if window is None or "sliding_attention" not in (kinds or ["sliding_attention"]):
        return added(seen_Bqk)
    near = added(seen_Bqk & (line_q[..., :, None] - line_k[..., None, :] < window))
    if kinds is None:
        return near
    return {"full_attention": added(seen_Bqk), "sliding_attention": near}
