"""A tiny random vision-language model as a policy: shared prefixes, text views, and ids that cannot
be written."""

import copy

import pytest
import torch
from torch import nn

from gndpo.models.vocabulary import Vocabulary
from gndpo.policy import Head, Policy
from gndpo.prompts import Rendering
from gndpo.rows import NEVER, Rows

G, T = 3, 4


@pytest.fixture(scope="module")
def ids_BT():
    return torch.randint(4, 40, (9, T), generator=torch.Generator().manual_seed(2))


def fresh(policy):
    """A copy whose weights and gradients are its own."""
    other = copy.deepcopy(policy)
    other.zero_grad(set_to_none=True)
    return other


def one_by_one(policy, rendering, ids_BT):
    """Hidden states of every answer behind its own prompt, without padding, without cache: the
    plain forward."""
    hidden = []
    for i, answer in enumerate(ids_BT):
        p = i // (len(ids_BT) // len(rendering.ids_PL))
        prompt = rendering.ids_PL[p][rendering.mask_PL[p]]
        ids_1L = torch.cat([prompt, answer])[None]
        out = policy.backbone(input_ids=ids_1L, use_cache=False, **rendering.images[p])
        hidden.append(out.last_hidden_state[0, len(prompt) - 1 : -1])
    return torch.stack(hidden)


def log_probs(policy, hidden_BTH, ids_BT):
    logp_BTV = policy.head.log_probs(hidden_BTH)
    return logp_BTV.gather(-1, ids_BT[..., None])[..., 0]


def gradients(policy, hidden_of, rendering, ids_BT):
    policy = fresh(policy)
    weight_BT = torch.linspace(-1, 1, ids_BT.numel(), dtype=torch.double).reshape(ids_BT.shape)
    logp_BT = log_probs(policy, hidden_of(policy, rendering, ids_BT), ids_BT)
    (weight_BT * logp_BT).sum().backward()
    grads = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
    return logp_BT.detach(), grads


@pytest.mark.parametrize("rendering", ["image", "text"])
def test_shared_prefix_equals_repeated_rows_in_value_and_gradient(
    student, renderings, ids_BT, rendering
):
    """Prompts of different lengths, so padding is on the left of two of them."""
    prompts = renderings[rendering]
    assert len(set(prompts.length_P.tolist())) == 3
    shared, shared_grads = gradients(student, Policy.hidden, prompts, ids_BT)
    repeated, repeated_grads = gradients(student, one_by_one, prompts, ids_BT)
    torch.testing.assert_close(shared, repeated, atol=1e-5, rtol=0)
    assert shared_grads.keys() == repeated_grads.keys()
    reached = any("vision_tower" in name for name in shared_grads)
    assert reached == (rendering == "image")
    for name, gradient in repeated_grads.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(
            shared_grads[name], gradient, atol=1e-5 * max(scale, 1e-3), rtol=0, msg=name
        )


def test_answers_of_one_token_need_no_second_forward(student, renderings, ids_BT):
    first_BT = ids_BT[:, :1]
    short = student.hidden(renderings["image"], first_BT)
    long = student.hidden(renderings["image"], ids_BT)[:, :1]
    torch.testing.assert_close(short, long)


def test_later_tokens_do_not_reach_back(student, renderings, ids_BT):
    changed_BT = ids_BT.clone()
    changed_BT[:, 2:] = 4
    a, b = (student.hidden(renderings["image"], x) for x in (ids_BT, changed_BT))
    torch.testing.assert_close(a[:, :3], b[:, :3], atol=1e-9, rtol=0)
    assert (a[:, 3] - b[:, 3]).abs().max() > 1e-3


def test_answers_of_a_group_do_not_see_each_other(student, renderings, ids_BT):
    order = torch.tensor([2, 0, 1, 4, 3, 5, 8, 7, 6])
    a = student.hidden(renderings["image"], ids_BT)
    b = student.hidden(renderings["image"], ids_BT[order])
    torch.testing.assert_close(b, a[order], atol=1e-5, rtol=0)


def test_the_image_is_seen_and_the_text_view_has_none(student, renderings, ids_BT):
    image, text = renderings["image"], renderings["text"]
    negative = tuple({"pixel_values": -x["pixel_values"]} for x in image.images)
    other = Rendering(image.ids_PL, image.length_P, negative)
    seen = log_probs(student, student.hidden(image, ids_BT), ids_BT)
    blank = log_probs(student, student.hidden(other, ids_BT), ids_BT)
    blind = log_probs(student, student.hidden(text, ids_BT), ids_BT)
    assert (seen - blank).abs().max() > 1e-2
    assert (seen - blind).abs().max() > 1e-2
    # without an image the language model alone answers
    prompt = text.ids_PL[1][text.mask_PL[1]]
    ids_1L = torch.cat([prompt, ids_BT[3]])[None]
    out = student.backbone.language_model(input_ids=ids_1L, use_cache=False).last_hidden_state
    alone = log_probs(student, out[:, len(prompt) - 1 : -1], ids_BT[3:4])
    torch.testing.assert_close(blind[3:4], alone, atol=1e-5, rtol=0)


def test_more_left_padding_changes_nothing(student, renderings, ids_BT):
    image = renderings["image"]
    pad = torch.full((3, 5), student.vocabulary.pad)
    wider = Rendering(torch.cat([pad, image.ids_PL], 1), image.length_P, image.images)
    a, b = (student.hidden(x, ids_BT) for x in (image, wider))
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shift", [50.0, -50.0])
def test_forbidden_ids_carry_no_probability(student, renderings, ids_BT, shift):
    """Their head rows, and the rows beyond the tokenizer, can be anything."""
    vocabulary = student.vocabulary
    shifted = fresh(student)
    bias = torch.zeros(48, dtype=torch.double)
    bias[[*vocabulary.forbidden, *range(vocabulary.size, 48)]] = shift
    shifted.head.linear.bias = nn.Parameter(bias)
    hidden_BTH = student.hidden(renderings["image"], ids_BT)
    plain, moved = (policy.head.log_probs(hidden_BTH) for policy in (student, shifted))
    assert torch.equal(plain, moved)
    assert plain.shape[-1] == vocabulary.size
    p = plain.exp()
    torch.testing.assert_close(p.sum(-1), torch.ones_like(p[..., 0]))
    assert not p[..., list(vocabulary.forbidden)].any()
    assert (p > 0).sum(-1).eq(vocabulary.size - len(vocabulary.forbidden)).all()
    moved.gather(-1, ids_BT[..., None]).sum().backward()
    assert not shifted.head.linear.bias.grad[bias != 0].any()


def test_forbidden_ids_leave_divergences_and_entropies_finite(student, teacher, renderings, ids_BT):
    rows = [
        Rows(policy.hidden(renderings["image"], ids_BT).flatten(0, 1).float(), policy.head.float())
        for policy in (fresh(student), fresh(teacher))
    ]
    p, q = (x.log_probs() for x in rows)
    assert p.dtype == torch.float32
    for term in (p.exp() * (p - q), q.exp() * (q - p), p.exp() * p):
        assert term.isfinite().all()
    assert (p[:, list(student.vocabulary.forbidden)] < NEVER / 2).all()


def test_the_head_divides_by_its_temperature_and_works_in_float32_or_better():
    linear = nn.Linear(4, 6, dtype=torch.bfloat16)
    hidden = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    hot = Head(linear, Vocabulary(6, (0,), 1, (1,)), 2.0).log_probs(hidden)
    logits = (linear(hidden).float() / 2).index_fill(1, torch.tensor([1]), -torch.inf)
    assert hot.dtype == torch.float
    torch.testing.assert_close(hot.exp(), logits.softmax(-1))


def test_a_frozen_head_ignores_later_updates(student):
    policy = fresh(student)
    hidden_NH = torch.randn(2, 32, generator=torch.Generator().manual_seed(0)).double()
    kept = policy.head.frozen()
    before = kept.log_probs(hidden_NH).clone()
    with torch.no_grad():
        policy.head.linear.weight.mul_(2)
    assert torch.equal(kept.log_probs(hidden_NH), before)
    assert not torch.equal(policy.head.log_probs(hidden_NH), before)
    assert not any(p.requires_grad for p in kept.parameters())


def test_a_softcap_bounds_the_logits_before_the_temperature():
    """c tanh(logit / c) / T with c = 2, T = 4: logits 0, 1, -3 and one that is cut off."""
    linear = nn.Linear(1, 4, bias=False, dtype=torch.double)
    linear.weight.data = torch.tensor([[0.0], [1.0], [-3.0], [9.0]], dtype=torch.double)
    head = Head(linear, Vocabulary(3, (0,), 2, ()), 4.0, softcap=2.0)
    one_N1 = torch.ones(1, 1, dtype=torch.double)
    capped = torch.tensor([0.0, 0.9242343145200195, -1.8102964987281206], dtype=torch.double)
    torch.testing.assert_close(head.logits(one_N1)[0], capped)
    torch.testing.assert_close(head.log_probs(one_N1)[0], (capped / 4).log_softmax(0))


def test_the_softcap_is_the_one_of_the_language_model_s_config(student):
    model = fresh(student).model
    assert Policy(model, student.vocabulary).head.softcap is None
    model.config.text_config.final_logit_softcapping = 30.0
    policy = Policy(model, student.vocabulary, temperature=2.0)
    policy.write_only(Vocabulary(20, (1,), 2, (2,)))
    assert (policy.head.softcap, policy.head.temperature) == (30.0, 2.0)


@pytest.mark.parametrize("rendering", ["image", "text"])
def test_layers_that_are_computed_twice_change_nothing(student, renderings, ids_BT, rendering):
    """Checkpointing in training reads prompt and answers as one row; not without gradients, where
    nothing would be saved."""
    calls = []

    def twice(policy, prompts, ids_BT):
        policy.model.activation_checkpointing_enable()
        policy.train()
        packed = policy.packed
        policy.packed = lambda *args: calls.append(1) or packed(*args)
        hidden_BTH = policy.hidden(prompts, ids_BT)
        policy.eval()
        policy.hidden(prompts, ids_BT)
        policy.train()
        return hidden_BTH

    plain, plain_grads = gradients(student, Policy.hidden, renderings[rendering], ids_BT)
    got, grads = gradients(student, twice, renderings[rendering], ids_BT)
    assert calls == [1]
    torch.testing.assert_close(got, plain, atol=1e-5, rtol=0)
    assert grads.keys() == plain_grads.keys()
    for name, gradient in plain_grads.items():
        scale = max(gradient.abs().max().item(), 1e-3)
        torch.testing.assert_close(grads[name], gradient, atol=1e-5 * scale, rtol=0, msg=name)
