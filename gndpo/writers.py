"""Who writes the answers of a step: the student, its teacher, the data, both in one batch, one
after the other, or a blend of both policies."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gndpo.cache import digest
from gndpo.data.templates import columns_of
from gndpo.errors import UserError
from gndpo.models.processor import Processor
from gndpo.policy import Policy
from gndpo.prompts import Prompts
from gndpo.reading import PLAIN, Speed
from gndpo.rollout import Answers, Guide, Script, generate
from gndpo.scores import DATA, TEACHER
from gndpo.sources import Source
from gndpo.sources import write as write_own

DIGESTS: WeakKeyDictionary[Policy, str] = WeakKeyDictionary()


@dataclass(frozen=True)
class Desk:
    """What a writer works with. group: G answers per prompt. place_P: where the prompts stand in
    the step. draws: (stream, rows, columns) -> uniforms of this step, [rows, columns]. step of
    steps: progress. fixed: the teacher stays as it is while the student learns. micro, answers:
    what is written at a time. keep_hidden: the student's hidden states stay with its answers.
    speed: how they are written faster."""

    prompts: Prompts
    student: Source
    teacher: Source
    processor: Processor
    group: int
    max_tokens: int
    place_P: Sequence[int]
    draws: Callable[[str, Sequence[int], int], Tensor]
    step: int
    steps: int
    fixed: bool = True
    micro: int | None = None
    answers: int | None = None
    keep_hidden: bool = False
    speed: Speed = PLAIN

    def uniform(self, stream: str) -> Tensor:
        """One draw per token of every answer, [B, max_tokens]."""
        rows = [place * self.group + g for place in self.place_P for g in range(self.group)]
        return self.draws(stream, rows, self.max_tokens)

    def one_each(self) -> "Desk":
        """The same desk for one answer per prompt."""
        return replace(self, group=1)


Writer = Callable[[Desk], Answers]


def student(desk: Desk) -> Answers:
    """On-policy: the student writes."""
    return written(desk)


def written(desk: Desk, script: Script | None = None, guide: Guide | None = None) -> Answers:
    """The student's answers, after a script or with a guide if there is one."""
    return generate(
        desk.student.policy,
        desk.prompts.renderings[desk.student.rendering],
        group=desk.group,
        max_tokens=desk.max_tokens,
        uniform_BT=desk.uniform("tokens"),
        script=script,
        guide=guide,
        micro=desk.micro,
        answers=desk.answers,
        keep_hidden=desk.keep_hidden,
        speed=desk.speed,
    )


def teacher(desk: Desk, *, cache: str | None) -> Answers:
    """Off-policy: the teacher writes. cache: a folder that keeps its answers, for other runs that
    ask the same teacher the same questions with the same draws."""
    uniform_BT = desk.uniform("teacher")

    def write() -> Answers:
        answers = write_own(
            desk.teacher,
            desk.prompts,
            group=desk.group,
            max_tokens=desk.max_tokens,
            uniform_BT=uniform_BT,
            micro=desk.micro,
            answers=desk.answers,
            speed=desk.speed,
        )
        return replace(answers, author_BT=TEACHER * answers.mask_BT.long())

    if cache is None:
        return write()
    if not desk.fixed:
        raise UserError(
            f"rollout.writer.cache={cache}: the teacher changes with the student, its answers are "
            "nobody else's; use cache=null"
        )
    file = Path(cache).expanduser() / "answers" / f"{answer_key(desk, uniform_BT)}.safetensors"
    if not file.exists():
        keep(write(), file)
    return Answers(**load_file(file, device=str(uniform_BT.device)))


def answer_key(desk: Desk, uniform_BT: Tensor) -> str:
    """What the teacher's answers depend on: whose weights answer which prompts, and the draws."""
    rendering = desk.prompts.renderings[desk.teacher.rendering]
    parts = desk.teacher.parts(desk.prompts.rows)
    weights = [weights_digest(policy) for policy, _ in parts]
    policy = parts[0][0]
    asked = [rendering.ids_PL, rendering.length_P, *rendering.vision.values()]
    settings = f"{desk.max_tokens} {policy.head.temperature} {policy.vocabulary} {weights}"
    return digest([*asked, uniform_BT, *(which for _, which in parts)], settings)


def weights_digest(policy: Policy) -> str:
    """Of a policy that never changes: computed once."""
    if policy not in DIGESTS:
        DIGESTS[policy] = digest(policy.parameters(), "")
    return DIGESTS[policy]


def keep(answers: Answers, file: Path) -> None:
    """Into a file, written beside and renamed: no half-written one is ever read."""
    tensors = replace(answers, hidden_BTH=None, own_BT=None).tensors
    beside = file.with_name(f".{file.stem}-{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: x.contiguous() for name, x in tensors.items()}, beside)
        beside.rename(file)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cannot write the teacher's answers into {file.parent} ({error}); set "
            "rollout.writer's cache to another folder, or to null"
        ) from error


def data(desk: Desk, *, column: str) -> Answers:
    """Off-policy: the answers stand in a column of the data; the same for the whole group."""
    vocabulary = desk.student.policy.vocabulary
    eos = vocabulary.eos[0]
    rows: list[Tensor] = []
    for row in desk.prompts.rows:
        text = columns_of(row).get(column, "")
        if not text:
            raise UserError(
                f"rollout.writer: the row {row['problem'][:60]!r} has nothing in its column "
                f"'{column}'; it has {', '.join(k for k, x in columns_of(row).items() if x)}"
            )
        ids = [*desk.processor.tokenizer(text, add_special_tokens=False)["input_ids"], eos]
        never = [i for i in ids if i >= vocabulary.size or i in vocabulary.forbidden]
        if never:
            token = desk.processor.tokenizer.convert_ids_to_tokens(never[0])
            raise UserError(
                f"rollout.writer: row {row['name']} has {token!r} in its column '{column}', which "
                "student and teacher cannot write; take it out of the data"
            )
        rows += [torch.tensor(ids[: desk.max_tokens])] * desk.group
    ids_BT = pad_sequence(rows, batch_first=True, padding_value=vocabulary.pad)
    length_B = torch.tensor([len(row) for row in rows])
    truncated_B = torch.tensor([int(row[-1]) != eos for row in rows])
    zeros_BT = torch.zeros(ids_BT.shape)
    answers = Answers(ids_BT, length_B, zeros_BT, truncated_B, zeros_BT.long())
    answers = replace(answers, author_BT=DATA * answers.mask_BT.long())
    device = desk.prompts.renderings[desk.student.rendering].ids_PL.device
    return answers.map(lambda x: x.to(device))


def mixed(desk: Desk, *, other: Writer, share: float, per: str) -> Answers:
    """Student answers and others. per "step": the whole batch is the student's with probability
    `share` (lambda of GKD, arXiv 2306.13649); per "answer": `share` of each prompt's group is,
    rounded at random to keep its mean."""
    if not 0 <= share <= 1 or per not in ("step", "answer"):
        raise UserError(
            f"rollout.writer: share={share}, per={per}; share must lie in 0..1, "
            "per is step or answer"
        )
    if per == "step":
        return written(desk) if bool(desk.draws("mix", [0], 1) < share) else other(desk)
    own_P1 = torch.floor(share * desk.group + desk.draws("mix", desk.place_P, 1))
    foreign_B = (torch.arange(desk.group, device=own_P1.device) >= own_P1).flatten()
    answers = other(desk)
    return written(desk, script_of(answers, answers.length_B * foreign_B))


def script_of(answers: Answers, length_B: Tensor) -> Script:
    """The first length_B tokens of answers."""
    return Script(answers.ids_BT, length_B, answers.logp_BT, answers.author_BT)


def prefix(desk: Desk, *, author: Writer) -> Answers:
    """The author begins, the student goes on (arXiv 2606.01249): the first floor(a_t L) tokens of
    the author's answer of L tokens, never its last one, a_t = (1 + cos(pi t / steps)) / 2. All
    answers of a prompt continue the same prefix."""
    a = (1 + math.cos(math.pi * desk.step / desk.steps)) / 2
    answers = author(desk.one_each()).repeat(desk.group)
    length_B = torch.minimum((a * answers.length_B.double()).floor().long(), answers.length_B - 1)
    return written(desk, script_of(answers, length_B))


def blend(desk: Desk, *, budget: float, until: float) -> Answers:
    """Trust-region behaviour blending (arXiv 2605.31159): every token from p^(1-b) q^b, the
    largest b with KL(blend || student) <= budget (1 - step / (until steps)) nats; afterwards the
    student alone."""
    if not (budget > 0 and until > 0):
        raise UserError(
            f"rollout.writer: budget={budget}, until={until}; both must be larger than 0"
        )
    left = budget * (1 - desk.step / (until * desk.steps))
    if left <= 0:
        return written(desk)
    rendering = desk.prompts.renderings[desk.teacher.rendering]
    return written(desk, guide=Guide(desk.teacher.policy, rendering, left))
