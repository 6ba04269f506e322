"""Whatever is typed behind gndpo-train, it composes or is refused with one sentence, and nothing
is written."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from omegaconf import OmegaConf

from gndpo import train
from gndpo.listing import CONF, groups, keys
from tests.fuzz.conftest import Fuzz, of_size, one_line, sentence_or, sizes
from tests.fuzz.test_configs import start

INSIDE = ["advantage.clamp", "optimizer.lr", "rollout.group", "data.rows.source", "model.pair"]
HYDRA = ["hydra", "hydra.run.dir", "hydra.job.chdir", "hydra.mode", "hydra.searchpath", "hydra.x"]
KEYS = sorted({key for name in ("step", "train") for key in keys(CONF / f"{name}.yaml")})
OPTIONS = sorted(file.relative_to(CONF).as_posix()[:-5] for file in CONF.glob("*/*.yaml"))
VALUES = st.one_of(
    st.sampled_from(["", "1", "0", "-1", "1e400", "abc", "null", "true", "1.5", "9" * 400, "0x1f"]),
    st.sampled_from(["[", "]", "[1", "{", "}", "{a:1", "{a:1}", "[1,[2,{b:c}]]", "(", ")", "[,]"]),
    st.sampled_from(["${x}", "${x", "${steps}", "$", "'", '"', "'a", '"a b"', "a b", "\\", "\\,"]),
    st.sampled_from(["1,2", "a,b,", ",", "range(3)", "range(", "choice()", "glob(*)", "sort(1,2)"]),
    st.sampled_from(["字", "٣", "²", "‮abc", "\u200b", "\ufeff", "\udcff", "é" * 99, "#", "!"]),
    st.sampled_from(["x" * 10**5, "[" * 200, "[" * 99 + "]" * 99, "a." * 999, "\t", "a\nb: 1"]),
    st.sampled_from(["???", "~", "../x", "/", "/etc/passwd", "a/b", "a@b", "a:b", "=", "a=b", "%"]),
    st.text(max_size=8),
)


@st.composite
def mistyped(draw: Any, words: list[str]) -> str:
    """One of the words, or one with a letter gone, doubled or another."""
    word: str = draw(st.sampled_from(words))
    at = draw(st.integers(0, len(word) - 1))
    letter = draw(st.sampled_from(["", word[at] * 2, "x", ".", "/", "@", " ", "é", "_", word[at]]))
    return word[:at] + letter + word[at + 1 :]


CHOSEN = mistyped(OPTIONS).map(lambda name: "=".join(name.split("/", 1)))
"""advantage=gndpo"""
SIGNS = st.sampled_from(["=", "=", "=", "", ":"])
SET = st.builds("{}{}{}".format, mistyped([*KEYS, *INSIDE, *HYDRA]), SIGNS, VALUES)
GROUPED = st.builds("{}={}".format, st.sampled_from(groups()), VALUES)
PREFIXES = st.sampled_from(["", "", "", "+", "++", "~", "+++", "~+", " "])
TYPED = st.builds("{}{}".format, PREFIXES, st.one_of(CHOSEN, SET, SET, GROUPED, VALUES))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """shown("steps=1"): exit code, what gndpo-train shows of that configuration, its errors."""

    def call(*typed: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gndpo-train", "--cfg", "job", *typed])
        code = 0
        try:
            train.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capfd.readouterr()

    return call


@pytest.mark.parametrize("cases", sizes(8, 400))
def test_what_is_typed_composes_or_is_refused(
    shown: Any, cases: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def holds(typed: list[str]) -> None:
        code, out, err = shown(*(x for x in typed if not x.startswith("-")))
        if code:
            assert code == 1
            assert len(one_line(err.rstrip("\n"))) < 4000
        else:
            sentence_or(start, OmegaConf.create(out))
        assert not [*tmp_path.iterdir()]

    fuzz: Fuzz = of_size(cases)
    fuzz(st.lists(TYPED, min_size=1, max_size=3), holds)
