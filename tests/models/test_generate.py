"""What is written and scored is what transformers itself writes and scores: greedy answers as
`generate` gives them, log-probabilities as one forward of the whole model gives them."""

import pytest
import torch
from twins import FAMILIES, VISION
from twins.reading import allowed, noise

from gndpo.prompts import make_prompts
from gndpo.rollout import generate
from tests.models.conftest import row_of

T = 48  # longer than every window, with both ends of an answer in reach
ROWS = [
    ("How many?", [(32, 32)]),
    ("Is it so, or is it not? " * 3, []),
    ("Compare <image> with <image> now", [(48, 32), (32, 32)]),
    ("<image><image> and <image>", [(32, 64), (20, 30), (64, 32)]),
]
"""Images of other sizes, tiles and numbers side by side."""
RENDERINGS = ("image", "text", "degraded", "black", "privileged_image", "privileged_text")
CASES = [
    (family, name)
    for family in FAMILIES
    for name in (RENDERINGS if not family.startswith("text") else ("image", "privileged_image"))
]


@pytest.fixture(scope="module")
def prompts_of(families):
    made = {}

    def prompts(name):
        family = families(name)
        if name not in made:
            rows = [
                row_of(
                    text if family.sees else text.replace("<image>", ""),
                    [noise(*size) for size in sizes] if family.sees else [],
                )
                for text, sizes in ROWS
            ]
            processor = family.processor(system="Be brief.")
            made[name] = make_prompts(rows, processor, context="It is {answer}. {problem}")
        return made[name]

    return prompts


def alone(rendering, i):
    """A prompt without its padding: ids, kinds, what the tower takes."""
    one = rendering.select(torch.tensor([i]))
    valid = one.mask_PL[0]
    kinds = {name: x[:, valid] for name, x in one.kinds.items()}
    return one.ids_PL[:, valid], kinds, one.vision


def theirs(policy, ids_PL, mask_PL, given):
    """Greedy answers of transformers, ids that may not be written suppressed."""
    vocabulary, rows = policy.vocabulary, policy.head.linear.weight.shape[0]
    return policy.model.generate(
        input_ids=ids_PL,
        attention_mask=mask_PL.long(),
        do_sample=False,
        max_new_tokens=T,
        suppress_tokens=[*vocabulary.forbidden, *range(vocabulary.size, rows)],
        eos_token_id=[*vocabulary.eos],
        pad_token_id=vocabulary.pad,
        repetition_penalty=1.0,
        temperature=None,
        top_p=None,
        top_k=None,
        cache_implementation=None,
        **given,
    )[:, ids_PL.shape[1] :]


@pytest.mark.parametrize(
    ("family", "name"),
    [*((family, "image") for family in FAMILIES), *((family, "text") for family in VISION)],
    indirect=["family"],
)
def test_greedy_answers_are_those_of_transformers(family, prompts_of, name):
    policy, rendering = family.policy(), prompts_of(family.name).renderings[name]
    ours = generate(policy, rendering, group=1, max_tokens=T, uniform_BT=None)
    batch = theirs(
        policy, rendering.ids_PL, rendering.mask_PL, rendering.vision | dict(rendering.kinds)
    )
    assert len({*ours.ids_BT.flatten().tolist()}) > 3
    for i, length in enumerate(ours.length_B.tolist()):
        ids_1L, kinds, vision = alone(rendering, i)
        single = theirs(policy, ids_1L, torch.ones_like(ids_1L), vision | kinds)[0].tolist()
        written = ours.ids_BT[i, :length].tolist()
        assert written == single
        assert written == batch[i, :length].tolist()


@pytest.mark.parametrize("dtype", [torch.float, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "which"), CASES)
def test_scores_are_those_of_one_forward_of_the_whole_model(
    families, prompts_of, name, which, dtype
):
    """float32: within 1e-5 nats. bfloat16 rounds to 0.4%: within 0.1 at worst, 0.02 on average."""
    policy, rendering = families(name).policy(dtype=dtype), prompts_of(name).renderings[which]
    allowed_V = allowed(policy)
    ids = allowed_V.nonzero()[:, 0]
    draws = torch.randint(len(ids), (len(ROWS), T), generator=torch.Generator().manual_seed(4))
    ids_BT = ids[draws]
    with torch.no_grad():
        expected = torch.stack([forward(policy, rendering, i, x) for i, x in enumerate(ids_BT)])
        for how in (policy.hidden, policy.packed):
            got = policy.head.log_probs(how(rendering, ids_BT)).gather(-1, ids_BT[..., None])
            off = (got[..., 0] - expected).abs()
            worst, mean = (1e-5, 1e-6) if dtype == torch.float else (0.1, 0.02)
            assert off.max() < worst
            assert off.mean() < mean


def forward(policy, rendering, i, answer_T):
    """log pi of an answer's tokens: positions and masks are the model's own."""
    ids_1L, kinds, vision = alone(rendering, i)
    whole = torch.cat([ids_1L, answer_T[None]], 1)
    more = {name: torch.cat([x, torch.zeros_like(answer_T)[None]], 1) for name, x in kinds.items()}
    out = policy.model(input_ids=whole, attention_mask=torch.ones_like(whole), **vision, **more)
    allowed_V = allowed(policy)
    logits_TV = out.logits[0, ids_1L.shape[1] - 1 : -1, : len(allowed_V)].float()
    logp_TV = logits_TV.masked_fill(~allowed_V, -torch.inf).log_softmax(-1)
    return logp_TV.gather(-1, answer_T[:, None])[:, 0]
