"""Checks on the first rows, before the first step: what would spoil a run silently is one sentence
now."""

import math

import torch
from torch import Tensor

from gndpo.errors import UserError
from gndpo.models.processor import Processor
from gndpo.policy import Policy
from gndpo.prompts import Prompts, Rendering
from gndpo.rollout import generate
from gndpo.sources import Source

GREEDY = 16
"""Tokens of the answer on which a teacher is judged."""
LOST = 0.9
"""A teacher whose log-probability of its own favourite tokens lies so near to -ln V knows nothing:
uniform is 1, a language model is below 0.2."""


@torch.no_grad()
def check_start(prompts: Prompts, student: Policy, teacher: Source, processor: Processor) -> None:
    """Placeholders match features, heads are what the models compute, teachers know something and
    look at the images."""
    check_ids(prompts, student.vocabulary.size, processor)
    named = {"student": (student, "image")}
    for value, policy in teacher.policies.items():
        named[f"teacher {value}".strip()] = (policy, teacher.rendering)
    models = {id(policy.model): (name, policy) for name, (policy, _) in reversed(named.items())}
    for name, policy in models.values():  # a student without its adapter is the student's model
        check_head(name, policy, prompts.renderings["text"])
    for name, (policy, rendering) in named.items():
        check_features(name, policy, prompts, rendering)
    for name, (policy, rendering) in named.items():
        if name != "student":
            check_knowledge(name, policy, prompts.renderings[rendering])
            check_sight(name, policy, prompts, rendering)


def check_ids(prompts: Prompts, size: int, processor: Processor) -> None:
    """Student and teacher know every token of the prompts' words; `size`: ids that both have."""
    rendering = prompts.renderings["text"]
    worst = rendering.ids_PL.masked_fill(~rendering.mask_PL, 0).amax(-1)
    for row, i in zip(prompts.rows, worst.tolist(), strict=True):
        if i >= size:
            token = processor.tokenizer.convert_ids_to_tokens(i)
            raise UserError(
                f"row {row['name']}: its prompt has {token!r}, id {i}, and student and teacher "
                f"share only ids below {size}; use a model.chat_template without it"
            )


def check_features(name: str, policy: Policy, prompts: Prompts, rendering: str) -> None:
    """One image feature per placeholder, row by row."""
    for i, row in enumerate(prompts.rows):
        alone = prompts.renderings[rendering].select(slice(i, i + 1))
        if not alone.images[0]:
            continue
        places = int((alone.ids_PL == policy.model.config.image_token_id).sum())
        features = feature_count(policy, alone)
        if places != features:
            raise UserError(
                f"row {row['name']}: its prompt has {places} image placeholders and the {name} "
                f"sees {features} features; student and teacher need the same image size and "
                "tiling (model.image_arguments), and the problem no placeholder of its own"
            )


def feature_count(policy: Policy, rendering: Rendering) -> int:
    """Vectors that the vision tower and its projector give to the language model."""
    given = {name: x for name, x in rendering.vision.items() if name != "pixel_attention_mask"}
    found = policy.backbone.get_image_features(**given, return_dict=True).pooler_output
    parts = found if isinstance(found, tuple | list) else [found]
    return sum(x.shape[:-1].numel() for x in parts)


def check_head(name: str, policy: Policy, rendering: Rendering) -> None:
    """Our head on the backbone's hidden states gives the model's own logits: families that scale
    or cap theirs in a way of their own do not pass."""
    first = rendering.select(slice(0, 1))
    ours_V = policy.head.logits(policy.encode(first).last_BH)[0]
    mask_1L = first.mask_PL.long()
    ids_1L = first.ids_PL
    theirs_V = policy.model(input_ids=ids_1L, attention_mask=mask_1L, use_cache=False).logits[0, -1]
    theirs_V = theirs_V[: len(ours_V)].to(ours_V.dtype)
    if (ours_V - theirs_V).abs().max() > 0.05 * theirs_V.abs().max():
        raise UserError(
            f"the {name} is a {type(policy.model).__name__}, whose logits are more than a linear "
            "layer behind its backbone; such families cannot be scored by position yet"
        )


def check_knowledge(name: str, policy: Policy, rendering: Rendering) -> None:
    """The mean log-probability of a teacher's own greedy answer lies far from -ln V."""
    answers = generate(policy, rendering, group=1, max_tokens=GREEDY, uniform_BT=None)
    nats = float(answers.logp_BT[answers.mask_BT].mean())
    uniform = -math.log(policy.vocabulary.size - len(policy.vocabulary.forbidden))
    if not nats > LOST * uniform:  # NaN is lost, too
        raise UserError(
            f"the {name} gives its own greedy answer {nats:.2f} nats per token, where knowing "
            f"nothing is {uniform:.2f}: its weights are lost or were never trained; check the "
            "checkpoint"
        )


def check_sight(name: str, policy: Policy, prompts: Prompts, rendering: str) -> None:
    """A black image in place of the row's changes what the teacher expects."""
    black = rendering.replace("image", "black")
    pairs = (prompts.renderings[rendering], prompts.renderings[black])
    if not any(pairs[0].images):
        return
    seen_PV, dark_PV = (first_logp(policy, x) for x in pairs)
    if torch.equal(seen_PV, dark_PV):
        raise UserError(
            f"the {name} says the same about a black image as about the row's: it does not see; "
            "check its checkpoint and its chat template"
        )


def first_logp(policy: Policy, rendering: Rendering) -> Tensor:
    return policy.head.log_probs(policy.encode(rendering).last_BH)
