"""What would spoil a run is refused before its first step, in one sentence."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from gndpo.build import config_folder
from gndpo.errors import UserError

POSITIVE = (
    "steps",
    "prompts",
    "rollout.group",
    "rollout.max_tokens",
    "rollout.temperature",
    "optimizer.lr",
    "updates.epochs",
    "updates.minibatches",
    "updates.chunk",
)
"""Keys whose values must be numbers larger than 0."""


def root_keys() -> set[str]:
    """The keys that conf/train.yaml and its groups bring; `+typo=1` would compose silently."""
    train, step = (OmegaConf.load(f"{config_folder()}/{name}.yaml") for name in ("train", "step"))
    groups = {
        str(key) for entry in train.defaults if isinstance(entry, DictConfig) for key in entry
    }
    return groups | {str(key) for key in [*train, *step]} - {"defaults"}


def check_values(cfg: DictConfig) -> None:
    """Names and values that no type can refuse."""
    for key in cfg:
        if key not in root_keys():
            raise UserError(f"unknown key '{key!s}' (allowed: {', '.join(sorted(root_keys()))})")
    for key in POSITIVE:
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, int | float) or not value > 0:
            raise UserError(f"{key}={value} must be a number larger than 0")
    minibatches = cfg.updates.minibatches
    if minibatches > cfg.prompts:
        raise UserError(f"updates.minibatches={minibatches} is more than prompts={cfg.prompts}")
    if cfg.ckpt not in (None, "last"):
        raise UserError(
            f"ckpt={cfg.ckpt} is unknown; use ckpt=last to continue a run, or leave it out"
        )
    if cfg.rollout.top_p != 1 or cfg.rollout.top_k is not None:
        raise UserError(
            f"rollout.top_p={cfg.rollout.top_p}, rollout.top_k={cfg.rollout.top_k}: truncated "
            "sampling biases every on-policy estimate, its tokens come from another distribution "
            "than the one that is scored; "
            "use top_p=1.0 and top_k=null"
        )


def check_pair(student: Any, teacher: Any) -> None:
    """Student and teacher read the same ids and the same pixels: compare token -> id maps and
    image settings, not sizes."""
    ours, theirs = student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    differing = sorted(
        token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)
    )
    if differing:
        shown = ", ".join(
            f"{token!r} is {ours.get(token)} and {theirs.get(token)}" for token in differing[:3]
        )
        raise UserError(
            f"student and teacher disagree on {len(differing)} token ids ({shown}); "
            "on-policy distillation needs one tokenizer for both"
        )
    pixels, others = image_settings(student), image_settings(teacher)
    for key in sorted(pixels.keys() | others.keys()):
        if pixels.get(key) != others.get(key):
            raise UserError(
                f"student and teacher preprocess images differently: {key} is {pixels.get(key)} "
                f"and {others.get(key)}; "
                "give both the same image processor"
            )


def image_settings(processor: Any) -> dict[str, Any]:
    settings = getattr(processor, "image_processor", None)
    return {} if settings is None else dict(settings.to_dict())
