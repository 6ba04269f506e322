"""What a step moves, per architecture: the parts that are named or the adapter, and nothing else;
checkpointing and the attention's implementation change no number."""

import pytest
import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from twins import FAMILIES, VISION
from twins.reading import allowed

from gndpo.models.parts import PARTS, part_of, train_only, trained
from gndpo.policies import add_adapter
from gndpo.update import apply

G, T = 2, 4
SOME = (["projector"], ["language"], ["vision"], ["projector", "language"])
UNREAD = {
    "llava": ("vision_tower.encoder.layers.2.", "vision_tower.post_layernorm."),
    "llava_next": ("vision_tower.encoder.layers.2.", "vision_tower.post_layernorm."),
}
"""Weights behind the layer whose features are taken."""


@pytest.fixture
def rendering(family):
    return family.prompts().renderings["image"]


@pytest.fixture
def ids_BT(family, rendering):
    ids = allowed(family.policy()).nonzero()[:, 0]
    shape = (len(rendering.ids_PL) * G, T)
    return ids[torch.randint(len(ids), shape, generator=torch.Generator().manual_seed(3))]


def log_probs(policy, rendering, ids_BT, how="hidden"):
    """Of every token."""
    hidden_BTH = getattr(policy, how)(rendering, ids_BT)
    return policy.head.log_probs(hidden_BTH).gather(-1, ids_BT[..., None])[..., 0]


def gradients(policy, logp_BT):
    """Of a weighted sum, both signs."""
    weight_BT = torch.linspace(-1, 1, logp_BT.numel(), dtype=logp_BT.dtype).view_as(logp_BT)
    (weight_BT * logp_BT).sum().backward()
    return {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}


def step(policy, rendering, ids_BT):
    """One update; the norms of its gradient, and the names of what it changed."""
    model = policy.train().model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(trained(model).values(), lr=0.01, weight_decay=0.1)
    gradients(policy, log_probs(policy, rendering, ids_BT))
    norms = apply(model, optimizer, clip_norm=None)
    after = dict(model.named_parameters())
    return norms, {name for name, p in before.items() if not torch.equal(p, after[name])}


@pytest.mark.parametrize(
    ("family", "parts"),
    [(x, parts) for x in FAMILIES for parts in SOME if x in VISION or parts == ["language"]],
    indirect=["family"],
)
def test_exactly_the_named_parts_move(family, rendering, ids_BT, parts):
    policy = family.policy()
    train_only(policy.model, parts)
    norms, changed = step(policy, rendering, ids_BT)
    there = [name for name, _ in policy.model.named_parameters() if part_of(name) in parts]
    unread = [name for name in there if any(x in name for x in UNREAD.get(family.name, ()))]
    assert bool(unread) == ("vision" in parts and family.name in UNREAD)
    assert changed == {*there} - {*unread}
    for part in PARTS:
        assert (norms[f"grad/norm_{part}"] > 0) == (part in parts)


@pytest.mark.parametrize(
    ("family", "parts"),
    [*((x, []) for x in FAMILIES), *((x, ["projector"]) for x in VISION)],
    indirect=["family"],
)
def test_an_adapter_moves_alone_or_with_the_parts_beside_it(family, rendering, ids_BT, parts):
    policy = family.policy()
    add_adapter(policy.model, {"r": 2, "lora_alpha": 4}, parts)
    names = [name for name, _ in policy.model.named_parameters()]
    low_rank = {name for name in names if "lora_" in name}
    layers = policy.model.config.get_text_config().num_hidden_layers
    assert len(low_rank) == 2 * 7 * layers  # A and B of q, k, v, o, gate, up, down
    norms, changed = step(policy, rendering, ids_BT)
    assert changed == low_rank | {name for name in names if part_of(name) in parts}
    for part in PARTS:
        assert (norms[f"grad/norm_{part}"] > 0) == (part in [*parts, "language"])


def counted(policy):
    """How often each layer computes from now on: calls of its first matrix, since hooks of the
    layer itself stay outside of what is computed twice."""
    computed = {}

    def count(name, module):
        computed[name] = 0
        first = next(x for x in module.modules() if isinstance(x, nn.Linear))
        first.register_forward_pre_hook(lambda *_: computed.update({name: computed[name] + 1}))

    for name, module in policy.model.named_modules():
        if isinstance(module, GradientCheckpointingLayer):
            count(name, module)
    return computed


def assert_close(one, other, atol):
    assert one.keys() == other.keys()
    for name, x in one.items():
        torch.testing.assert_close(x, other[name], atol=atol, rtol=0, msg=name)


def test_checkpointing_computes_every_layer_twice_and_the_same(family, rendering, ids_BT):
    policy, twin = family.policy().train(), family.policy().train()
    policy.model.activation_checkpointing_enable()
    computed, plain = counted(policy), counted(twin)
    logp_BT = log_probs(policy, rendering, ids_BT)
    expected_BT = log_probs(twin, rendering, ids_BT, "packed")
    torch.testing.assert_close(logp_BT, expected_BT, atol=1e-8, rtol=0)
    assert_close(gradients(policy, logp_BT), gradients(twin, expected_BT), 1e-8)
    unread = {x for x in computed if f"{x}.".endswith(UNREAD.get(family.name, ("-",)))}
    parts = [part_of(name) for name in computed]
    assert parts.count("language") == policy.model.config.get_text_config().num_hidden_layers
    assert ("vision" in parts) == family.sees
    assert {computed[name] for name in computed if name not in unread} == {2}
    assert {*plain.values()} == {1}


def test_checkpointing_leaves_reading_alone(family, rendering, ids_BT):
    policy = family.policy().eval()
    expected_BT = log_probs(policy, rendering, ids_BT)
    policy.model.activation_checkpointing_enable()
    computed = counted(policy)
    assert torch.equal(log_probs(policy, rendering, ids_BT), expected_BT)
    read = {computed[name] for name in computed if part_of(name) == "language"}
    assert read == {2}  # the prompts, then the answers


NUMBERS = [("packed", torch.double, 1e-6), ("hidden", torch.float, 1e-5)]
"""Eager attention takes its softmax in float32. There the mask of float64 is infinite and a query
of padding, which nobody reads, has nothing to look at: nan."""


@pytest.mark.parametrize(("how", "dtype", "atol"), NUMBERS, ids=["packed", "hidden"])
def test_eager_attention_gives_the_numbers_of_sdpa(family, rendering, ids_BT, how, dtype, atol):
    policies = [family.policy("student", dtype, attention=x).train() for x in ("sdpa", "eager")]
    assert [x.model.config._attn_implementation for x in policies] == ["sdpa", "eager"]
    one, other = (log_probs(policy, rendering, ids_BT, how) for policy in policies)
    torch.testing.assert_close(one, other, atol=atol, rtol=0)
    sdpa, eager = (gradients(*x) for x in zip(policies, (one, other), strict=True))
    assert_close(sdpa, eager, 10 * atol)
