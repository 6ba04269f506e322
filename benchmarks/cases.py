"""What is measured: a centre point, varied one axis at a time."""

from dataclasses import dataclass, replace

IDENTICAL = ("trl", "full_kl")
"""The same objective on both sides: reverse KL over the whole vocabulary."""
CHEAPER = ("raw_kl", "gndpo")
"""Our strategies that read sampled tokens alone: another objective."""
QUICK = 2
"""Timed rounds of a quick look."""
FEW = 2
"""Timed rounds of slow cases."""
FAMILIES = {"internvl": "InternVL", "llava": "LLaVA", "qwen2_5_vl": "Qwen2.5-VL"}


@dataclass(frozen=True)
class Case:
    """family: of `twins`. layers, hidden: of the student's language model; the teacher has twice
    both. prompt: L, tokens, image included. answer: T. vocabulary: V. group: G. prompts: P.
    arms: what runs side by side. threads: of each process. rounds: timed steps."""

    family: str = "internvl"
    layers: int = 4
    hidden: int = 256
    prompt: int = 260
    answer: int = 32
    vocabulary: int = 32_000
    group: int = 8
    prompts: int = 1
    arms: tuple[str, ...] = IDENTICAL
    threads: int = 1
    rounds: int = 3

    @property
    def name(self) -> str:
        size = f"{FAMILIES[self.family]} {self.layers}x{self.hidden}"
        lengths = f"L={self.prompt} T={self.answer} V={self.vocabulary}"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{size} {lengths} G={self.group} P={self.prompts}, {threads}"

    @property
    def label(self) -> str:
        """In what the pair and the sizes differ from the centre's."""
        parts = [FAMILIES[self.family]] * (self.family != Case.family)
        parts += [f"{self.layers} × {self.hidden}"] * (self.hidden != Case.hidden)
        named = {"L": "prompt", "T": "answer", "V": "vocabulary", "G": "group"}
        changed = {x: f for x, f in named.items() if getattr(self, f) != getattr(Case, f)}
        parts += [f"{letter} = {getattr(self, f):,}" for letter, f in changed.items()]
        return ", ".join(parts) or "centre"

    @property
    def answers(self) -> int:
        """B = P G."""
        return self.prompts * self.group

    @property
    def tokens(self) -> int:
        """Answer tokens of a step, B T."""
        return self.answers * self.answer

    @property
    def shared(self) -> float:
        """G (L + T) / (L + G T): how many times fewer tokens a shared prompt leaves."""
        together = self.prompt + self.group * self.answer
        return self.group * (self.prompt + self.answer) / together


CENTRE = Case()
SMALL_V = replace(CENTRE, vocabulary=1024)
LARGE_V = replace(CENTRE, vocabulary=151_936, rounds=FEW)
TINY = replace(SMALL_V, layers=2, hidden=64)


def grouped(case: Case, group: int) -> Case:
    """G answers to each prompt, eight in all, or one group where it is larger."""
    return replace(case, group=group, prompts=max(1, 8 // group))


TARGETS = tuple(grouped(case, group) for case in (SMALL_V, TINY) for group in (1, 4, 8))
"""Where steps per second are held to a ratio."""
ALL_ARMS = (*IDENTICAL, "decomposed", *CHEAPER)
ONE_THREAD = (
    replace(CENTRE, arms=ALL_ARMS),
    *(replace(grouped(CENTRE, group), rounds=FEW) for group in (1, 4, 16)),
    replace(CENTRE, prompt=30),
    replace(CENTRE, prompt=1000, rounds=FEW),
    replace(CENTRE, answer=128, rounds=FEW),
    replace(LARGE_V, arms=ALL_ARMS),
    replace(CENTRE, family="llava"),
    replace(CENTRE, family="qwen2_5_vl"),
    replace(CENTRE, layers=2, hidden=64),
    *TARGETS,
)
TWO_THREADS = tuple(
    replace(case, threads=2, rounds=FEW) for case in (*TARGETS[:3], CENTRE, LARGE_V)
)
CASES = (*ONE_THREAD, *TWO_THREADS)
QUICK_CASES = (CENTRE, *TARGETS)
