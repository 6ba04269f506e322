"""What a training and an evaluation would cost: seconds on one GPU and bytes, by arithmetic from
the models' shapes and the assumptions of conf/table.yaml. Nothing here was measured.

A forward is 2 operations per weight and token (arXiv 2001.08361), and 4 * layers * Q per pair of
token and key, Q the width of all query heads; a backward is twice its forward.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig
from transformers import PreTrainedModel

from gndpo.build import build_advantage
from gndpo.memory.footprint import cache_bytes, state, weight_bytes
from gndpo.memory.prediction import predict
from gndpo.memory.sizes import Sizes
from gndpo.models.parts import PARTS, part_of
from gndpo.pieces import Portion
from gndpo.reads import Reads, dry_run
from gndpo.tables.shapes import build, shapes

VOCABULARY = 1000
"""Ids for finding out what a strategy reads."""


@dataclass(frozen=True)
class Assumed:
    """conf/table.yaml says what each is."""

    device: str
    memory: float
    flops: float
    bandwidth: float
    utilisation: float
    reading: float
    latency: float
    mean: float
    longest: float
    prompt: int
    rows: int


@dataclass(frozen=True)
class Cost:
    """Of one training: seconds of it and of the evaluation that it does itself, bytes of its
    checkpoints and at the peak."""

    seconds: float
    evaluation: float
    disk: int
    peak: int


@dataclass(frozen=True)
class Asked:
    """A benchmark: questions, passes (a greedy one, one of all samples) with answers per question
    of each, longest answer."""

    questions: int
    passes: tuple[int, ...]
    max_tokens: int


def training(cfg: DictConfig, assumed: Assumed) -> Cost | None:
    """Of the composed configuration of a run; None where a model's shape is not known, or an
    adapter learns. A quantized teacher is counted as it would be in bfloat16."""
    pair = cfg.model.pair
    if cfg.model.adapter is not None or not {pair.student, pair.teacher} <= shapes().keys():
        return None
    student, teacher = build(pair.student, tuple(cfg.model.parts or PARTS)), build(pair.teacher)
    reads = dry_run(build_advantage(cfg.advantage), VOCABULARY)
    kept = state(student, [teacher], 2)
    memory = predict(student, [teacher], sizes_of(cfg, reads))
    step = writing(cfg, student, teacher, assumed) + reading(cfg, student, teacher, reads, assumed)
    return Cost(
        seconds=cfg.steps * step,
        evaluation=own_evaluation(cfg, student, teacher, assumed),
        disk=checkpoints(cfg) * (kept["masters"] + kept["optimizer"]),
        peak=memory.peak,
    )


def checkpoints(cfg: DictConfig) -> int:
    """How many stay: the last ones, and the best one where it need not be one of them."""
    saved = scheduled(cfg.checkpoint.every, cfg.steps)
    if cfg.checkpoint.best is None or cfg.eval.validation == 0:
        return min(int(cfg.checkpoint.keep), len(saved))
    saved |= scheduled(cfg.eval.every, cfg.steps)
    return min(int(cfg.checkpoint.keep) + 1, len(saved))


def scheduled(every: int, steps: int) -> set[int]:
    """Every so many steps (0: never), and the last one."""
    return {steps, *(range(every, steps, every) if every else ())}


def sizes_of(cfg: DictConfig, reads: Reads) -> Sizes:
    """With the longest prompts of the data and every answer as long as it may be."""
    u, rollout, shape = cfg.updates, cfg.rollout, shapes()[cfg.model.pair.student]
    return Sizes(
        prompts=cfg.prompts,
        group=rollout.group,
        prompt_tokens=int(shape["prompt"]),
        answer_tokens=rollout.max_tokens,
        written=(rollout.micro, rollout.answers),
        portion=Portion(u.micro, u.answers, u.chunk),
        patches=int(shape["patches"]),
        checkpointing=cfg.model.checkpointing,
        optimizer_states=2,
        trained=reads.trained,
        whole=reads.whole,
    )


def writing(
    cfg: DictConfig, student: PreTrainedModel, teacher: PreTrainedModel, assumed: Assumed
) -> float:
    """Seconds of a step's rollout: batch after batch, each as long as its longest answer. Where
    the teacher begins the answers, its own whole answers too."""
    P, G, rollout = cfg.prompts, cfg.rollout.group, cfg.rollout
    at_once, each = min(rollout.micro or P, P), min(rollout.answers or G, G)
    batches = -(-P // at_once) * -(-G // each)
    steps = assumed.longest * rollout.max_tokens
    own = batches * steps * token_seconds(student, at_once * each, rollout.max_tokens, assumed)
    alone = -(-P // at_once) * steps * token_seconds(teacher, at_once, rollout.max_tokens, assumed)
    return float(own + alone if rollout.writer._target_.endswith(".prefix") else own)


def token_seconds(model: PreTrainedModel, rows: int, longest: int, assumed: Assumed) -> float:
    """Of one token of `rows` answers: weights and half-full caches are read, or operations done,
    or kernels started, whatever takes longest."""
    halfway = assumed.prompt + int(assumed.longest * longest / 2)
    read = weight_bytes([model]) + cache_bytes(model, rows, halfway)
    done = forward(model, rows, rows * halfway)
    return max(
        assumed.latency,
        read / (assumed.bandwidth * assumed.reading),
        done / (assumed.flops * assumed.utilisation),
    )


def reading(
    cfg: DictConfig,
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    reads: Reads,
    assumed: Assumed,
) -> float:
    """Seconds of a step's scores and update: a forward per view, and for each that is trained a
    forward and a backward; with checkpointing one forward more. A prompt is read once per group;
    prompts without their image are taken to be as long, and what the tower sees is left out."""
    P, G, L = cfg.prompts, cfg.rollout.group, assumed.prompt
    T = assumed.mean * cfg.rollout.max_tokens
    tokens, pairs = P * (L + G * T), P * (L * L / 2 + G * (L * T + T * T / 2))
    names = [student if view.startswith("student") else teacher for view in reads.requests]
    scores = sum(forward(model, tokens, pairs) for model in names)
    again = 4 if cfg.model.checkpointing else 3
    update = again * len(reads.trained) * forward(student, tokens, pairs)
    return float((scores + update) / (assumed.flops * assumed.utilisation))


def forward(model: PreTrainedModel, tokens: float, pairs: float) -> float:
    """Operations; embeddings are looked up, not multiplied."""
    config: Any = model.config.get_text_config()
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = config.num_attention_heads * head
    return float(2 * weights(model) * tokens + 4 * config.num_hidden_layers * width * pairs)


def weights(model: PreTrainedModel) -> int:
    """Of the language model, a tied head included, without the embeddings of an untied one."""
    language = sum(p.numel() for name, p in model.named_parameters() if part_of(name) == PARTS[-1])
    embeddings: Any = model.get_input_embeddings()
    output: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    tied = output.weight is embeddings.weight
    return language - (0 if tied else embeddings.weight.numel())


def own_evaluation(
    cfg: DictConfig, student: PreTrainedModel, teacher: PreTrainedModel, assumed: Assumed
) -> float:
    """Seconds of a run's own evaluation, greedy, blind where there are images, and k samples:
    validation rows at the start, on the schedule and at the end, test rows before (student and
    teacher) and after."""
    e, longest = cfg.eval, cfg.rollout.max_tokens
    greedy = (1, 1) if hasattr(student.config, "vision_config") else (1,)
    passes = (*greedy, *((e.k,) if e.k else ()))
    times = 1 + (-(-cfg.steps // e.every) if e.every else 1)
    test = Asked(e.test, passes, longest)
    seconds = times * evaluation(student, Asked(e.validation, passes, longest), e.batch, assumed)
    seconds += 2 * evaluation(student, test, e.batch, assumed)
    return seconds + evaluation(teacher, test, e.batch, assumed)


def evaluation(model: PreTrainedModel, asked: Asked, batch: int, assumed: Assumed) -> float:
    """Seconds: batches one after the other, each as long as its longest answer."""
    batches, steps = -(-asked.questions // batch), assumed.longest * asked.max_tokens
    each = [token_seconds(model, batch * rows, asked.max_tokens, assumed) for rows in asked.passes]
    return float(batches * steps * sum(each))


def asked(section: Mapping[str, Any], questions: int) -> Asked:
    """Of a composed benchmark."""
    passes = (1,) * bool(section["greedy"]) + (section["k"],) * (section["k"] > 0)
    return Asked(questions, passes, section["max_tokens"])
