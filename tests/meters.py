"""Tiny models, sizes, and meters of what is really allocated, for the tests of predicted memory."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    Qwen2Config,
    Qwen3Config,
)

from gndpo.memory.sizes import Sizes
from gndpo.models.vocabulary import Vocabulary
from gndpo.pieces import Portion
from gndpo.policy import Policy
from gndpo.prompts import Rendering

WORDS = Vocabulary(size=150, eos=(1,), pad=0, forbidden=(0,))
FAMILIES = {
    "qwen3": Qwen3Config,
    "qwen2": Qwen2Config,
    "llama": LlamaConfig,
    "gemma3": Gemma3TextConfig,
}


def text_model(family="qwen3", dtype=torch.float32, attention="sdpa", **shape):
    shape = {
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 150,
        "pad_token_id": 0,
    } | shape
    config = FAMILIES[family](**shape)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=dtype)
    return model.train()


def policy_of(model):
    return Policy(model, WORDS).train()


def prompts_of(P, L):
    """The first prompt is shorter than the others, as in every batch but luck's."""
    length_P = torch.tensor([L - 2, *[L] * (P - 1)])
    return Rendering(torch.randint(4, 100, (P, L)), length_P, ({},) * P)


def answers_of(P, G, T):
    return torch.randint(4, 100, (P * G, T))


def sizes(P=2, G=3, L=40, T=33, **changes):
    return Sizes(
        **{
            "prompts": P,
            "group": G,
            "prompt_tokens": L,
            "answer_tokens": T,
            "written": (None, None),
            "portion": Portion(None, None, 4096),
            "patches": 0,
            "checkpointing": False,
            "optimizer_states": 2,
            "trained": frozenset({"student"}),
            "whole": frozenset(),
            **changes,
        }
    )


def nbytes(tensors) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)


@contextmanager
def saved(model) -> Iterator[list[int]]:
    """Bytes that autograd saves, every storage once, weights left out."""
    known = {x.untyped_storage()._cdata for x in (*model.parameters(), *model.buffers())}
    stores, total = {}, []

    def pack(x):
        stores[x.untyped_storage()._cdata] = x.untyped_storage()
        return x

    with saved_tensors_hooks(pack, lambda x: x):
        yield total
    total.append(sum(s.nbytes() for key, s in stores.items() if key not in known))


@contextmanager
def peak() -> Iterator[list[int]]:
    """Bytes allocated at most within the block."""
    gc.collect()
    found = []
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        yield found
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        found.append(now)
    found[:] = [max(found)]


def near(predicted: int, measured: int, tolerance: float) -> bool:
    return abs(predicted / measured - 1) < tolerance
