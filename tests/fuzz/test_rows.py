"""Whatever a data set holds, a row is read or refused with one sentence that names it."""

import base64
import io
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from gndpo.data.choices import FORMS
from gndpo.data.filters import Filters
from gndpo.data.reader import Fields, Reader
from tests.fuzz.conftest import Fuzz, sentence_or


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, format="PNG")
    return buffer.getvalue()


GOOD = [png(8, 8), png(1, 300), png(5, 5, "RGBA"), png(4, 4, "P"), png(4, 4, "I;16")]
HUGE = png(9000, 9000, "1").replace(
    (9000).to_bytes(4, "big") * 2, (60000).to_bytes(4, "big") * 2
)  # a header of 3.6 billion pixels
BYTES = st.one_of(
    st.sampled_from([*GOOD, HUGE, b"", b"\x89PNG", b"GIF89a", b"BM", b"II*\x00", b"RIFF"]),
    st.builds(lambda x, n: x[:n], st.sampled_from(GOOD), st.integers(0, 90)),
    st.builds(
        lambda x, i, b: x[: i % len(x)] + bytes([b]) + x[i % len(x) + 1 :],
        st.sampled_from(GOOD),
        st.integers(0, 200),
        st.integers(0, 255),
    ),
    st.binary(max_size=40),
)
TEXTS = st.one_of(
    st.sampled_from(["", " ", "<image>", "<image><image>", "<image 1>", "<image 99>", "{problem}"]),
    st.sampled_from(["\ud800", "a\x00b", "x" * 2**20, "<image>" * 3000, "‮", "\\boxed{", "{" * 9]),
    st.text(max_size=12),
)
IMAGES = st.one_of(
    BYTES,
    st.builds(lambda b: {"bytes": b, "path": None}, BYTES),
    st.builds(lambda b: base64.b64encode(b).decode(), BYTES),
    st.builds(lambda b: f"data:image/png;base64,{base64.b64encode(b).decode()}", BYTES),
    st.sampled_from(["a.png", "../a.png", "/etc/passwd", "~/x.png", "a\x00.png", "x" * 300 + ".p"]),
    TEXTS.filter(lambda text: "://" not in text),
)
NESTED = ("[" * 10**5, "-" * 10**5 + "1", "(" * 150 + ")" * 150 + "+1" * 20000, "[1, 2]")
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, IMAGES),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["bytes", "path", "a", "0"]), inner, max_size=2),
    ),
    max_leaves=5,
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "problem": st.one_of(TEXTS, TEXTS, ANY),
        "images": st.one_of(IMAGES, st.lists(IMAGES, max_size=3), ANY),
        "answer": st.one_of(TEXTS, st.sampled_from(["A", "0", "7", "٣", "9" * 5000]), ANY),
        "choices": st.one_of(st.none(), st.lists(TEXTS, max_size=4), st.sampled_from(NESTED), ANY),
        "solution": ANY,
        "kind": ANY,
    },
)
READERS = st.builds(
    lambda form, pattern, template, choices: {
        "answer_form": form,
        "answer_pattern": pattern,
        "template": template,
        "choices": choices,
    },
    st.sampled_from([*FORMS]),
    st.sampled_from([None, "(.*)", r"(\w+)$"]),
    st.sampled_from(["{problem}", "{problem} {choices}", "<image> {problem}", "{kind}: {problem}"]),
    st.sampled_from([None, "choices"]),
)
FILTERS = Filters(
    max_characters=10**6, min_side=2, max_side=2**14, max_pixels=2**24, corrupt="drop"
)


def test_a_row_is_read_or_refused(fuzz: Fuzz, tmp_path: Path) -> None:
    def holds(case: tuple[dict[str, Any], dict[str, Any]]) -> None:
        record, options = dict(case[0]), dict(case[1])
        fields = Fields(
            images="images",
            problem="problem",
            answer="answer",
            choices=options.pop("choices"),
            solution="solution",
            kind="kind",
            further={},
        )
        reader = Reader(fields, tmp_path, [("a+", "b")], **options)
        for read in (reader.row, reader.identity, lambda r, n: FILTERS.fault(r, reader, n)):
            found = sentence_or(read, record, "data/train/7")
            if read == reader.row and isinstance(found, str):
                assert found.startswith("data/train/7: ")
            else:
                check(found)

    fuzz(st.tuples(RECORDS, READERS), holds)


def check(found: Any) -> None:
    """A row's parts have their types."""
    if isinstance(found, dict):
        assert all(image.mode == "RGB" and min(image.size) > 0 for image in found["images"])
        assert all(isinstance(found[key], str) for key in ("problem", "answer", "kind"))
        assert all(isinstance(choice, str) for choice in found["choices"])
