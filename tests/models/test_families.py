"""Every architecture through the same policy: shared prefixes, packed rows, views, exact KL."""

import pytest
import torch
from twins import VISION

from gndpo.models.packing import has_grid

G, T = 3, 4


@pytest.fixture
def ids_BT(family):
    """Random answers to three prompts, ids that may be written."""
    vocabulary = family.policy().vocabulary
    allowed = [i for i in range(vocabulary.size) if i not in {*vocabulary.forbidden}]
    draws = torch.randint(len(allowed), (3 * G, T), generator=torch.Generator().manual_seed(2))
    return torch.tensor(allowed)[draws]


def one_by_one(policy, rendering, ids_BT):
    """Hidden states of every answer behind its own prompt: the model's own forward, without
    padding, cache or positions of ours."""
    hidden = []
    for i, answer in enumerate(ids_BT):
        p = i // (len(ids_BT) // len(rendering.ids_PL))
        alone = rendering.select(torch.tensor([p]))
        valid = alone.mask_PL[0]
        prompt = alone.ids_PL[0][valid]
        kinds = {
            name: torch.cat([x[0][valid], torch.zeros_like(answer)])[None]
            for name, x in alone.kinds.items()
        }
        ids_1L = torch.cat([prompt, answer])[None]
        out = policy.backbone(input_ids=ids_1L, use_cache=False, **alone.vision, **kinds)
        hidden.append(out.last_hidden_state[0, len(prompt) - 1 : -1])
    return torch.stack(hidden)


def log_probs(policy, hidden_BTH, ids_BT):
    return policy.head.log_probs(hidden_BTH).gather(-1, ids_BT[..., None])[..., 0]


def gradients(policy, hidden_of, rendering, ids_BT):
    policy.zero_grad()
    weight_BT = torch.linspace(-1, 1, ids_BT.numel(), dtype=torch.double).reshape(ids_BT.shape)
    logp_BT = log_probs(policy, hidden_of(rendering, ids_BT), ids_BT)
    (weight_BT * logp_BT).sum().backward()
    grads = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
    return logp_BT.detach(), {name: grad.clone() for name, grad in grads.items()}


@pytest.mark.parametrize("how", ["hidden", "packed"])
@pytest.mark.parametrize("view", ["image", "text"])
def test_prompts_shared_by_a_group_equal_repeated_rows(family, ids_BT, view, how):
    policy, rendering = family.policy(), family.prompts().renderings[view]
    assert len(set(rendering.length_P.tolist())) > 1
    expected, expected_grads = gradients(
        policy, lambda r, ids: one_by_one(policy, r, ids), rendering, ids_BT
    )
    got, grads = gradients(policy, getattr(policy, how), rendering, ids_BT)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    for name, grad in expected_grads.items():
        torch.testing.assert_close(grads[name], grad, atol=1e-6, rtol=1e-4, msg=name)


def test_teacher_equal_to_student_is_no_divergence(family, ids_BT):
    policy, twin = family.policy(), family.policy()
    rendering = family.prompts().renderings["image"]
    p, q = (x.head.log_probs(x.hidden(rendering, ids_BT)) for x in (policy, twin))
    assert (p.exp() * (p - q)).sum(-1).abs().max() < 1e-5
    other = family.policy("teacher")
    q = other.head.log_probs(other.hidden(rendering, ids_BT))
    assert (p.exp() * (p - q)).sum(-1).min() > 0.05


@pytest.mark.parametrize("family", VISION, indirect=True)
def test_a_blank_image_changes_what_the_teacher_says(family, ids_BT):
    teacher = family.policy("teacher")
    seen, blanked = (
        log_probs(teacher, teacher.hidden(family.prompts(x).renderings["image"], ids_BT), ids_BT)
        for x in (True, False)
    )
    text = family.prompts().renderings["text"]
    blind = log_probs(teacher, teacher.hidden(text, ids_BT), ids_BT)
    for row in (slice(0, G), slice(2 * G, 3 * G)):
        assert (seen - blanked)[row].abs().max() > 1e-2
        assert (seen - blind)[row].abs().max() > 1e-2
    imageless = slice(G, 2 * G)
    torch.testing.assert_close(seen[imageless], blanked[imageless], atol=1e-9, rtol=0)
    torch.testing.assert_close(seen[imageless], blind[imageless], atol=1e-9, rtol=0)


def test_image_tokens_can_never_be_written(family):
    processor, policy = family.processor(), family.policy()
    model = policy.model
    forbidden = {*policy.vocabulary.forbidden}
    assert processor.pad in forbidden | {*policy.vocabulary.eos}
    if family.sees:
        assert model.config.image_token_id in forbidden
        ids = {*family.prompts().renderings["image"].ids_PL.flatten().tolist()}
        text = {*family.prompts().renderings["text"].ids_PL.flatten().tolist()}
        assert not forbidden & (text - {processor.pad})
        assert forbidden & ids
    ends = model.generation_config.eos_token_id
    assert {ends if isinstance(ends, int) else ends[0]} <= {*policy.vocabulary.eos}
    assert policy.vocabulary.size <= policy.head.linear.weight.shape[0]


def test_grids_are_the_qwen_families(family):
    assert has_grid(family.policy().backbone) == family.name.startswith(("qwen3_vl", "qwen2_5"))
