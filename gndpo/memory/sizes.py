"""The settings that memory depends on."""

from dataclasses import dataclass, replace

from torch.optim import Optimizer

from gndpo.pieces import Portion
from gndpo.reads import Reads
from gndpo.settings import Settings


@dataclass(frozen=True)
class Sizes:
    """prompts, group, prompt_tokens, answer_tokens: P, G, the longest L and T. written: prompts,
    and answers of one prompt, that are written at a time (None: all). portion: what is scored and
    trained at a time. patches: what the vision tower reads per prompt, 0: no image.
    optimizer_states: numbers per trained parameter (AdamW 2, SGD 0, with momentum 1). trained,
    whole: the views that are trained and those kept as whole distributions (`gndpo.reads.Reads`).
    """

    prompts: int
    group: int
    prompt_tokens: int
    answer_tokens: int
    written: tuple[int | None, int | None]
    portion: Portion
    patches: int
    checkpointing: bool
    optimizer_states: int
    trained: frozenset[str]
    whole: frozenset[str]

    @staticmethod
    def of(
        settings: Settings,
        reads: Reads,
        optimizer: Optimizer,
        *,
        prompts: int,
        patches: int,
        checkpointing: bool,
    ) -> "Sizes":
        """Of a run that is about to begin."""
        minibatch = -(-prompts // settings.update.minibatches)
        portion = settings.update.portion
        return Sizes(
            prompts=prompts,
            group=settings.group,
            prompt_tokens=settings.max_prompt_tokens,
            answer_tokens=settings.max_tokens,
            written=(settings.micro, settings.answers),
            portion=replace(portion, micro=min(portion.micro or minibatch, minibatch)),
            patches=patches,
            checkpointing=checkpointing,
            optimizer_states=states_of(optimizer),
            trained=reads.trained,
            whole=reads.whole,
        )

    @property
    def P(self) -> int:
        """Prompts per forward; a part of a group goes alone (`gndpo.pieces`)."""
        if self.answers < self.group:
            return 1
        limits = [self.portion.micro or self.prompts, self.prompts]
        if self.portion.tokens is not None:
            own = self.prompt_tokens + self.group * self.answer_tokens
            limits.append(max(1, self.portion.tokens // own))
        return min(limits)

    @property
    def answers(self) -> int:
        """Of a prompt, per forward."""
        limits = [self.portion.answers or self.group, self.group]
        if self.portion.tokens is not None:
            left = self.portion.tokens - self.prompt_tokens
            limits.append(max(1, left // self.answer_tokens))
        return min(limits)

    @property
    def rows(self) -> int:
        """Answers per forward."""
        return self.P * self.answers

    @property
    def at_once(self) -> int:
        """Prompts that are answered at a time."""
        micro, answers = self.written
        parted = answers is not None and answers < self.group
        return 1 if parted else min(micro or self.prompts, self.prompts)

    @property
    def written_rows(self) -> int:
        """Answers that are written at a time."""
        return self.at_once * min(self.written[1] or self.group, self.group)

    @property
    def packed(self) -> int:
        """Tokens of a prompt with its answers, per forward."""
        return self.prompt_tokens + self.answers * (self.answer_tokens - 1)

    @property
    def cached(self) -> int:
        """Tokens that a cache holds in the end; the last one of an answer is not read again."""
        return self.prompt_tokens + self.answer_tokens - 1


def states_of(optimizer: Optimizer) -> int:
    """Numbers per parameter: two moments, or a momentum, or none."""
    return 2 if "betas" in optimizer.defaults else int(bool(optimizer.defaults.get("momentum")))
