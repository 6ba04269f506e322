"""Parts that would do nothing together are refused before the first step."""

from omegaconf import DictConfig

from gndpo.errors import UserError
from gndpo.module import Distillation
from gndpo.reads import only_reinforces
from gndpo.signal import Strategy


def check_signal(cfg: DictConfig, strategy: Strategy, vocabulary: int) -> None:
    """A run in which nothing would be learned."""
    writer = str(cfg.rollout.writer._target_)
    if writer in ("gndpo.writers.teacher", "gndpo.writers.data") and only_reinforces(
        strategy, vocabulary
    ):
        raise UserError(
            f"rollout.writer={writer}: the student writes nothing, and this advantage only weighs "
            "what it writes; use an advantage with a match, for example full_kl or sft, or another "
            "rollout"
        )


def check_sight(cfg: DictConfig, module: Distillation) -> None:
    """To a model that only reads, all renderings of a prompt are the same."""
    if module.processor.image_processor is not None:
        return
    if cfg.rollout.rendering != "image":
        raise UserError(
            f"rollout.rendering={cfg.rollout.rendering}: the student only reads text; use image, "
            "which is then the prompt as it is"
        )
    views = sorted({*module.reads.requests} - {"student", "teacher"})
    if views:
        raise UserError(
            f"advantage={cfg.advantage._target_.rpartition('.')[2]} reads what the image adds "
            f"({', '.join(views)}), and the student only reads text; use another advantage, or a "
            "vision-language model"
        )
