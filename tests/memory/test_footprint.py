"""Bytes per item against those that are allocated on a CPU."""

import pytest
import torch
from meters import (
    FAMILIES,
    answers_of,
    nbytes,
    near,
    peak,
    policy_of,
    prompts_of,
    sizes,
    text_model,
)
from torch.testing._internal.two_tensor import TwoTensor

from gndpo.heads import Head
from gndpo.loss import answer_loss
from gndpo.memory import footprint
from gndpo.models.masters import Masters
from gndpo.models.parts import trained
from gndpo.models.vocabulary import Vocabulary
from gndpo.pieces import Piece, Portion
from gndpo.rollout import generate
from gndpo.rows import Rows
from gndpo.scores import Scores
from gndpo.signal import Match, Signal
from gndpo.surrogates import reinforce
from gndpo.views import make_views


def test_weights_gradients_and_optimizer_are_exact():
    model = text_model(tie_word_embeddings=True)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randint(4, 100, (2, 5))).logits.sum().backward()
    optimizer.step()
    state = footprint.state(model, [text_model()], 2)
    assert state["student"] == nbytes([*model.parameters(), *model.buffers()])
    assert state["masters"] == 0
    assert state["gradients"] == nbytes(p.grad for p in model.parameters())
    moments = [x for s in optimizer.state.values() for x in s.values() if x.numel() > 1]
    assert state["optimizer"] == nbytes(moments)
    other = text_model()
    assert state["teacher"] == nbytes([*other.parameters(), *other.buffers()])
    assert footprint.state(model, [], 0)["optimizer"] == 0


def test_bfloat16_weights_have_float32_masters_and_gradients():
    model = text_model(dtype=torch.bfloat16)
    model.lm_head.requires_grad_(False)
    masters = Masters(model)
    model(torch.randint(4, 100, (2, 5))).logits.sum().backward()
    state = footprint.state(model, [], 1)
    assert state["masters"] == nbytes(masters.of.values())
    assert state["gradients"] == nbytes(p.grad for p in trained(model).values())
    assert state["optimizer"] == state["gradients"]
    sgd, adam = (footprint.step(model, states) for states in (1, 2))
    masters.swap_in()
    stay = [model.lm_head.weight, *model.buffers()]
    assert sgd == {"student": nbytes(stay), "optimizer temporaries": 0}
    assert adam == {"student": nbytes(stay), "optimizer temporaries": state["gradients"]}


def test_a_teacher_with_the_students_weights_costs_nothing_and_a_quantized_one_its_parts():
    model = text_model()
    assert footprint.state(model, [model], 2)["teacher"] == 0
    quantized = TwoTensor(torch.zeros(6, 4), torch.zeros(6, 4))
    assert footprint.tensor_bytes(quantized) == 2 * 6 * 4 * 4


@pytest.mark.parametrize("family", FAMILIES)
def test_the_cache_is_exact(family):
    model = text_model(family, torch.bfloat16)
    policy, (P, G, L, T) = policy_of(model), (2, 3, 40, 33)
    with torch.no_grad():
        prefix = policy.encode(prompts_of(P, L)).repeat(G)
        policy.advance(prefix, answers_of(P, G, T)[:, :-1], written=0)
    held = [x for layer in prefix.cache.layers for x in (layer.keys, layer.values)]
    assert footprint.cache_bytes(model, P * G, sizes().cached) == nbytes(held)


SHAPES = [(2, 3, 40, 33), (2, 4, 100, 30), (2, 3, 16, 70)]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_updates_peak_is_predicted_within_15_percent(shape, dtype, checkpointing):
    P, G, L, T = shape
    model = text_model(dtype=dtype, hidden_size=128, num_attention_heads=8, num_hidden_layers=6)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    for parameter in model.parameters():  # they are there from the second piece on
        parameter.grad_dtype = torch.float32
        parameter.grad = torch.zeros(parameter.shape)
    policy, rendering, ids_BT = policy_of(model), prompts_of(P, L), answers_of(P, G, T)
    with peak() as measured:
        hidden_NH = policy.hidden(rendering, ids_BT).flatten(0, 1)
        logp_NV = policy.head.log_probs(hidden_NH)
        logp_NV.gather(-1, ids_BT.flatten()[:, None]).sum().backward()
    predicted = footprint.update(model, sizes(P, G, L, T, checkpointing=checkpointing))
    assert near(sum(predicted.values()), measured[0], 0.15)


@pytest.mark.parametrize("shape", SHAPES)
def test_peaks_without_gradients_are_predicted_within_20_percent(shape):
    P, G, L, T = shape
    model = text_model(hidden_size=128, intermediate_size=384, num_attention_heads=8)
    policy, rendering = policy_of(model).eval(), prompts_of(P, L)
    setting = sizes(P, G, L, T)
    with peak() as measured, torch.no_grad():
        policy.encode(rendering)
    assert near(sum(footprint.encoding(model, setting).values()), measured[0], 0.2)
    with peak() as measured, torch.no_grad():
        policy.hidden(rendering, answers_of(P, G, T))
    predicted = footprint.scoring([model], setting)
    assert near(predicted["cache"] + predicted["scoring"], measured[0], 0.2)
    with peak() as measured:
        generate(policy, rendering, group=G, max_tokens=T, uniform_BT=torch.rand(P * G, T))
    phases = footprint.encoding(model, setting), footprint.rollout(model, setting)
    assert near(max(sum(items.values()) for items in phases), measured[0], 0.2)


@pytest.mark.parametrize(
    ("views", "direction"),
    [(0, "reverse"), (1, "reverse"), (1, "forward"), (2, "reverse"), (3, "reverse")],
)
def test_the_heads_bytes_are_predicted_within_20_percent(views, direction):
    """At 128 rows of logits a time where whole distributions are compared; of sampled tokens all
    256 with a part of the ids."""
    n, V, H = 256, 6000, 8
    vocabulary = Vocabulary(size=V, eos=(1,), pad=0, forbidden=(0,))
    ids_BT, mask_BT = torch.randint(1, V, (4, n // 4)), torch.ones(4, n // 4, dtype=torch.bool)
    names = ("teacher", "student_text", "teacher_text")[:views]
    model = text_model(hidden_size=H, vocab_size=V, num_attention_heads=1, num_key_value_heads=1)

    def rows(trained):
        linear = model.lm_head if trained else torch.nn.Linear(H, V, bias=False)
        head = Head(linear.requires_grad_(trained), vocabulary, 1.0)
        return Rows(torch.randn(n, H, requires_grad=trained), head, 128)

    zeros_BT = torch.zeros(ids_BT.shape)
    scores = Scores(
        ids_BT=ids_BT,
        mask_BT=mask_BT,
        views=make_views(ids_BT, mask_BT, {name: rows(False) for name in ("student", *names)}),
        author_BT=zeros_BT.long(),
        behaviour_logp_BT=zeros_BT,
        uniform_BT=zeros_BT,
        group_B=torch.arange(4),
        reward_B=torch.zeros(4),
    )
    match = Match("kl", mask_BT.float(), dict.fromkeys(names, 1.0), direction)
    signal = Signal(mask_BT * (0.0 if views else 1.0), (match,) if views else ())
    every = Piece(torch.arange(4), torch.arange(4))
    student = rows(True)
    _ = scores.student.logp_BT
    with peak() as measured:
        loss = answer_loss({"student": student}, scores, signal, reinforce, mask_BT.float(), every)
        loss.total.backward()
    portion = Portion(None, None, 128)
    whole = frozenset(names)
    setting = sizes(P=1, G=4, T=n // 4, portion=portion, whole=whole)
    assert near(footprint.head(model, setting), measured[0], 0.2)


def test_portions_bound_what_is_alive_at_once():
    whole = sizes(P=8, G=4)
    assert (whole.P, whole.rows, whole.at_once, whole.packed) == (8, 32, 8, 40 + 4 * 32)
    few = sizes(P=8, G=4, portion=Portion(micro=2, answers=None, chunk=64), written=(3, None))
    assert (few.P, few.rows, few.at_once) == (2, 8, 3)
    part = sizes(P=8, G=4, portion=Portion(micro=2, answers=3, chunk=64))
    assert (part.P, part.rows, part.packed) == (1, 3, 40 + 3 * 32)
    assert footprint.head_rows(part, 150) == 64
    none = sizes(P=8, G=4, portion=Portion(micro=None, answers=None, chunk=None))
    assert footprint.head_rows(none, 150) == 32 * 33
    assert footprint.head_rows(none, 2**20) == 8
    tokens = sizes(P=8, G=4, portion=Portion(None, None, None, tokens=2 * (40 + 4 * 33)))
    assert (tokens.P, tokens.rows) == (2, 8)
    tight = sizes(P=8, G=4, portion=Portion(None, None, None, tokens=40 + 2 * 33))
    assert (tight.P, tight.rows) == (1, 2)


def test_whole_views_keep_hidden_states_and_a_trained_head_is_copied():
    model, teacher = text_model(), text_model(hidden_size=96)
    setting = sizes(whole=frozenset({"student_text", "teacher", "teacher_text"}))
    kept = footprint.kept(model, [teacher], setting)
    tokens = 2 * 3 * 33
    assert kept == {"kept distributions": tokens * 4 * (64 + 96 + 96), "frozen head": 150 * 64 * 4}
    model.lm_head.requires_grad_(False)
    assert footprint.kept(model, [teacher], setting)["frozen head"] == 0


def test_a_second_trained_view_is_alive_beside_the_first():
    model = text_model()
    one = footprint.update(model, sizes())
    two = footprint.update(model, sizes(trained=frozenset({"student", "student_text"})))
    assert 1.8 < two["activations"] / one["activations"] < 2
    assert two["attention masks"] == 2 * one["attention masks"]
