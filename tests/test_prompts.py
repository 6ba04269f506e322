"""Renderings: what is seen and in which context, made when they are first read."""

from collections import Counter

import pytest
import torch
from PIL import Image
from transformers import GotOcr2ImageProcessorPil
from twins import FAMILIES

from gndpo.data.templates import columns_of, filled
from gndpo.errors import UserError
from gndpo.models.digits import IMAGE_TOKENS, build_processor
from gndpo.models.processor import TOGETHER, Processor
from gndpo.prompts import (
    Rendering,
    chat_text,
    drawn,
    left_padded,
    make_prompts,
    stacked,
)
from gndpo.sources import Source
from tests.models import conftest as models

families = models.families
CONTEXT = "what is {problem} ? sum {answer} top"
PLAIN = "what is the sum of the four digits ?"


def picture(seed):
    """Noise: every pixel another colour."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (32, 32, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def row(problem=PLAIN, seed=0, **fields):
    return {
        "name": "test/0",
        "images": [picture(seed)],
        "problem": problem,
        "answer": "7",
        "choices": [],
        "solution": "<think> 1 2 </think> \\boxed{ 7 }",
        "kind": "sum",
        "fields": fields,
    }


ROWS = [row(), row("what is the largest of the four digits ? sum", seed=1), row("minus", seed=2)]


@pytest.fixture(scope="module")
def processor():
    return Processor(build_processor())


@pytest.fixture(scope="module")
def prompts(processor):
    return make_prompts(ROWS, processor, context=CONTEXT)


def texts(rendering, processor):
    """What every prompt says, padding and placeholders left out."""
    keep = [
        ids[mask].tolist() for ids, mask in zip(rendering.ids_PL, rendering.mask_PL, strict=True)
    ]
    return processor.tokenizer.batch_decode(keep, skip_special_tokens=True)


def test_a_rendering_is_made_when_it_is_first_read(processor, monkeypatch):
    made = make_prompts(ROWS, processor, context=CONTEXT)
    assert not made.renderings
    black = made.renderings["black"]
    monkeypatch.setattr("gndpo.prompts.encode", None)
    assert made.renderings["black"] is black
    assert set(made.renderings) == {"black"}


def test_only_the_privileged_renderings_stand_in_the_context(processor, prompts):
    for name in ("image", "text", "degraded", "black"):
        plain = texts(prompts.renderings[name], processor)
        privileged = texts(prompts.renderings[f"privileged_{name}"], processor)
        for i, problem in enumerate(x["problem"] for x in ROWS):
            assert problem in plain[i]
            assert "7" not in plain[i].split()
            assert f"what is {problem} ? sum 7 top" in privileged[i]
    assert all("7" not in text.split() for text in prompts.texts)


def test_without_a_context_a_privileged_rendering_is_the_plain_one(processor):
    made = make_prompts(ROWS, processor).renderings
    for name in ("image", "text"):
        assert torch.equal(made[name].ids_PL, made[f"privileged_{name}"].ids_PL)


def test_what_is_seen_changes_pixels_and_nothing_else(processor, prompts):
    image = prompts.renderings["image"]
    place = processor.own.image_token_id
    assert image.ids_PL.eq(place).sum(-1).eq(IMAGE_TOKENS).all()
    for name in ("degraded", "black"):
        other = prompts.renderings[name]
        assert torch.equal(other.ids_PL, image.ids_PL)
        assert torch.equal(other.length_P, image.length_P)
        pixels = other.vision["pixel_values"]
        assert pixels.shape == image.vision["pixel_values"].shape
        assert not torch.equal(pixels, image.vision["pixel_values"])
    black = prompts.renderings["black"].vision["pixel_values"]
    assert black.unique().numel() == 1
    privileged = prompts.renderings["privileged_degraded"].vision["pixel_values"]
    assert torch.equal(privileged, prompts.renderings["degraded"].vision["pixel_values"])
    text = prompts.renderings["text"]
    assert not text.vision
    assert not text.ids_PL.eq(place).any()


@pytest.mark.parametrize(("degrade", "side"), [(0.1, 3), (0.25, 8), (0.5, 16), (0.001, 1)])
def test_a_coarse_image_has_the_stated_side(degrade, side):
    coarse = drawn(picture(3), "degraded", degrade)
    assert coarse.size == (32, 32)
    pixels = torch.tensor(list(coarse.tobytes())).view(32, 32, 3)
    edges = (
        (pixels.diff(dim=0) != 0).any(-1).any(-1).sum(),
        (pixels.diff(dim=1) != 0).any(-1).any(0).sum(),
    )
    assert edges == (side - 1, side - 1)  # constant blocks, side x side of them
    mean = torch.tensor(list(picture(3).tobytes())).double().mean()
    assert (pixels.double().mean() - mean).abs() < 3


def test_degrade_reaches_the_rendering(processor):
    two = [make_prompts(ROWS, processor, degrade=x).renderings["degraded"] for x in (0.1, 0.5)]
    assert not torch.equal(two[0].vision["pixel_values"], two[1].vision["pixel_values"])


@pytest.mark.parametrize("which", [slice(1, 3), torch.tensor([2, 0]), torch.tensor([1])])
@pytest.mark.parametrize("name", ["image", "text"])
def test_select_takes_prompts_with_their_images(prompts, which, name):
    whole = prompts.renderings[name]
    some = whole.select(which)
    assert torch.equal(some.ids_PL, whole.ids_PL[which])
    assert torch.equal(some.length_P, whole.length_P[which])
    assert some.vision.keys() == whole.vision.keys()
    for key, x in some.vision.items():
        assert torch.equal(x, whole.vision[key][which])


def test_select_keeps_the_patches_of_an_image_together(prompts):
    """One, three and two patches."""
    image = prompts.renderings["image"]
    patches = torch.arange(6.0)[:, None].expand(6, 4).split([1, 3, 2])
    each = Rendering(image.ids_PL, image.length_P, tuple({"pixel_values": x} for x in patches))
    assert each.vision["pixel_values"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    got = each.select(torch.tensor([2, 0])).vision["pixel_values"]
    assert got[:, 0].tolist() == [4, 5, 0]


def test_prompts_may_have_any_number_of_images(processor):
    """None, two and one: every image stands with its prompt, and a missing one moves no other."""
    two, none = row("minus", seed=5), row("sum", seed=0)
    two["images"], none["images"] = [picture(5), picture(6)], []
    made = make_prompts([none, two, row(seed=7)], processor).renderings["image"]
    assert made.ids_PL.eq(processor.own.image_token_id).sum(-1).tolist() == [
        0,
        2 * IMAGE_TOKENS,
        IMAGE_TOKENS,
    ]
    alone = {
        seed: make_prompts([row(seed=seed)], processor).renderings["image"].vision["pixel_values"]
        for seed in (5, 6, 7)
    }
    assert torch.equal(made.vision["pixel_values"], torch.cat([alone[s] for s in (5, 6, 7)]))
    assert made.images[0] == {}
    for which, seeds in ((torch.tensor([2, 1]), (7, 5, 6)), (slice(0, 2), (5, 6))):
        got = made.select(which).vision["pixel_values"]
        assert torch.equal(got, torch.cat([alone[seed] for seed in seeds]))
    assert made.select(slice(0, 1)).vision == {}


def test_missing_tiles_are_zeros():
    """[images, tiles, height]: one image of two tiles, two of one."""
    first, others = torch.ones(1, 2, 3), 2 * torch.ones(2, 1, 3)
    zeros = torch.zeros(2, 1, 3)
    expected = torch.cat([first, torch.cat([others, zeros], 1)])
    assert torch.equal(stacked([first, others]), expected)
    same = [torch.ones(1, 3, 32, 32), torch.zeros(4, 3, 32, 32)]
    assert torch.equal(stacked(same), torch.cat(same))


def test_tokens_kinds_are_padded_on_the_left_and_zero_where_a_prompt_has_none():
    """Prompts without an image come without the families' marks of image tokens."""
    ids = [torch.tensor([[5, 6, 6, 7]]), torch.tensor([[8, 9]])]
    marks = torch.tensor([[0, 1, 1, 0]])
    encoded = [{"input_ids": ids[0], "mm_token_type_ids": marks}, {"input_ids": ids[1]}]
    made = left_padded(encoded, pad=2)
    assert made.ids_PL.tolist() == [[5, 6, 6, 7], [2, 2, 8, 9]]
    assert made.length_P.tolist() == [4, 2]
    assert made.kinds["mm_token_type_ids"].tolist() == [[0, 1, 1, 0], [0, 0, 0, 0]]
    assert made.select(torch.tensor([1])).kinds["mm_token_type_ids"].tolist() == [[0, 0, 0, 0]]
    assert made.images == ({}, {})
    assert left_padded(encoded[1:], pad=2).kinds == {}


def test_padding_is_on_the_left(processor, prompts):
    pad = processor.tokenizer.pad_token_id
    for name in ("image", "text", "privileged_image"):
        rendering = prompts.renderings[name]
        assert len(set(rendering.length_P.tolist())) == 3
        assert torch.equal(rendering.ids_PL != pad, rendering.mask_PL)
        assert rendering.mask_PL[:, -1].all()


def test_long_prompts_are_refused_or_dropped_with_their_images(processor):
    lengths = make_prompts(ROWS, processor).renderings["image"].length_P.tolist()
    limit = sorted(lengths)[1]
    with pytest.raises(
        UserError, match=f"a prompt has {max(lengths)} tokens, more than .*={limit}"
    ):
        make_prompts(ROWS, processor, max_tokens=limit)
    kept = make_prompts(ROWS, processor, max_tokens=limit, overlong="drop")
    assert (len(kept), kept.dropped) == (2, 1)
    assert [x["problem"] for x in kept.rows] == [PLAIN, "minus"]
    pixels = make_prompts(ROWS, processor).renderings["image"].vision["pixel_values"]
    assert torch.equal(kept.renderings["image"].vision["pixel_values"], pixels[[0, 2]])
    with pytest.raises(UserError, match="the teacher's context included, more than"):
        make_prompts(ROWS, processor, max_tokens=max(lengths), context=CONTEXT)
    with pytest.raises(UserError, match="every prompt of this step is too long"):
        make_prompts(ROWS, processor, max_tokens=3, overlong="drop")


@pytest.fixture
def processed(monkeypatch):
    """How often each picture went through the image processor, by its pixels."""
    seen = Counter()
    process = GotOcr2ImageProcessorPil._preprocess

    def counting(self, images, **options):
        seen.update(image.tobytes() for image in images)
        return process(self, images, **options)

    monkeypatch.setattr(GotOcr2ImageProcessorPil, "_preprocess", counting)
    return seen


def test_a_picture_is_processed_once_per_rendering_also_where_prompts_are_dropped(
    processor, processed
):
    lengths = make_prompts(ROWS, processor).renderings["image"].length_P.tolist()
    processed.clear()
    made = make_prompts(ROWS, processor, max_tokens=max(lengths) - 1, overlong="drop")
    assert (made.dropped, len(processed), {*processed.values()}) == (1, 3, {1})
    for name in ("image", "text", "black", "degraded", "image", "black"):
        assert len(made.renderings[name].images) == 2
    assert processed.total() == 3 + 2 + 2


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_are_encoded_together_as_they_are_alone(families, family):
    """More alike than go into one call, others with more, larger, or no images between them."""
    family = families(family)
    processor = family.processor(system="Think.")
    sizes = [[(32, 32)], [(48, 32)], [(32, 32), (32, 48)], []]
    rows = [
        models.row_of(
            "Sum" + " of" * (i % 5),
            [picture(i).resize(size) for size in sizes[i % 4 if i % 3 else 0] if family.sees],
        )
        for i in range(3 * TOGETHER)
    ]
    made = make_prompts(rows, processor)
    for name in ("image", "text", "black"):
        together = made.renderings[name]
        for i, row in enumerate(rows):
            alone = make_prompts([row], processor).renderings[name]
            some = together.select(torch.tensor([i])).narrow()
            assert some.ids_PL.equal(alone.ids_PL)
            assert some.images[0].keys() == alone.images[0].keys()
            assert all(x.equal(alone.images[0][key]) for key, x in some.images[0].items())
            marked = {key for key, x in some.kinds.items() if x.any()}
            assert marked <= alone.kinds.keys() <= some.kinds.keys()
            assert all(x.equal(some.kinds[key]) for key, x in alone.kinds.items())


def test_the_one_row_of_many_that_does_not_fit_is_named():
    template = "{{ '<IMG_CONTEXT>' * (2 if 'minus' in messages | string else 1) }}"
    processor = Processor(build_processor(), chat_template=template)
    rows = [row() | {"name": f"mine/{i}"} for i in range(4)]
    assert len(make_prompts(rows, processor).renderings["image"].images) == 4
    rows[2]["problem"] = "minus"
    with pytest.raises(UserError, match=r"^row mine/2: its prompt and images do not fit together"):
        make_prompts(rows, processor).renderings["image"]


def test_a_template_may_name_every_column_and_braces_inside_them_stay():
    given = row("write \\boxed{x} {kind}", hint="look {up}")
    assert filled("{problem}|{hint}|{answer}|{kind}|{solution}|{{}}", given) == (
        "write \\boxed{x} {kind}|look {up}|7|sum|<think> 1 2 </think> \\boxed{ 7 }|{}"
    )
    names = {"problem", "answer", "solution", "kind", "choices", "hint"}
    assert columns_of(given).keys() == names
    asked = filled("{problem} {choices}", given | {"choices": ["red", "blue"]})
    assert asked == "write \\boxed{x} {kind} A. red\nB. blue"


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (
            "{problem} {hnit}",
            r"names the column 'hnit', the data has answer, choices, hint, kind, problem, ",
        ),
        ("{}", "names the column ''"),
        ("{problem.real}", r"names the column 'problem.real'"),
        ("\\boxed{", "cannot be read .*; write braces that are not a column's twice"),
        ("\\boxed{answer}}", "cannot be read"),
        ("{answer:d}", "cannot be read"),
        ("{answer:{width}}", "cannot be read"),
    ],
)
def test_a_template_that_cannot_be_filled_is_one_sentence(template, sentence):
    with pytest.raises(UserError, match=sentence):
        filled(template, row(hint="x"))


def test_a_context_with_a_typo_is_refused_when_it_is_read(processor):
    made = make_prompts(ROWS, processor, context="{problme}")
    with pytest.raises(UserError, match="problme"):
        made.renderings["privileged_image"]


def test_chat_text_holds_one_placeholder_per_image_before_the_question(processor):
    two = row() | {"images": [picture(0), picture(1)]}
    seen, blind = (chat_text(two, processor, image=image) for image in (True, False))
    assert seen.count("<IMG_CONTEXT>") == 2
    assert seen.index("<IMG_CONTEXT>") < seen.index(PLAIN)
    assert blind == seen.replace("<IMG_CONTEXT>\n", "")
    assert seen.endswith("assistant\n")


@pytest.mark.parametrize("rendering", ["image", "privileged_image", "privileged_text"])
def test_another_picture_keeps_the_context(student, rendering):
    source = Source.of(student, rendering)
    context = "privileged_" if rendering.startswith("privileged_") else ""
    for name in ("image", "text", "degraded", "black"):
        other = source.seeing(name)
        assert other.rendering == context + name
        assert other.policy is student
