"""One record becomes one row: columns, paths, templates, choices, image markers."""

import pytest

from gndpo.data.choices import letter_of, lettered, options
from gndpo.data.images import placed
from gndpo.data.records import RowError, text_at, value_at
from gndpo.data.templates import fill
from gndpo.errors import UserError

ASKED = {"problem": "1 + 1?", "answer": "2"}


def test_a_path_leads_into_lists_and_dictionaries_and_a_column_may_hold_dots():
    record = {"messages": [{"content": "a"}, {"content": "b"}], "x.0": "dotted", "x": ["list"]}
    assert value_at(record, "messages.0.content", "r") == "a"
    assert value_at(record, "messages.-1.content", "r") == "b"
    assert value_at(record, "x.0", "r") == "dotted"
    assert value_at({"a": None}, "a.b.c", "r") is None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "question",
            r"^mine/train/3: there is no column 'question' \(the data has m, t\); name on",
        ),
        ("m.5.c", r"^mine/train/3: 'm.5.c' leads nowhere at '5', where there is \[\{'c': 'a'\}\];"),
        ("m.0.d", "^mine/train/3: 'm.0.d' leads nowhere at 'd', where there is c; mend the data"),
        ("m.first", r"leads nowhere at 'first', where there is \["),
        ("t.0.x", "leads nowhere at '0', where there is 'text'"),
    ],
)
def test_a_path_that_leads_nowhere_names_the_row(path, message):
    with pytest.raises(UserError, match=message):
        value_at({"m": [{"c": "a"}], "t": "text"}, path, "mine/train/3")


def test_texts_of_numbers_and_nulls():
    record = {"number": 3, "null": None, "real": 0.5}
    assert [text_at(record, name, "r") for name in ("number", "null", "real")] == ["3", "", "0.5"]
    assert text_at(record, None, "r") == ""


def test_a_row_has_every_part(reader):
    record = {
        "q": "Which?",
        "a": "B",
        "opts": ["red", "blue"],
        "why": "it is",
        "subject": "art",
        "level": 3,
    }
    read = reader(
        problem="q",
        answer="a",
        choices="opts",
        solution="why",
        kind="subject",
        further={"grade": "level"},
        template="({kind}, {grade}) {problem}\n{choices}\nUse \\boxed{{}}.",
    )
    assert read.row(record, "mine/train/0") == {
        "name": "mine/train/0",
        "images": [],
        "problem": "(art, 3) Which?\nA. red\nB. blue\nUse \\boxed{}.",
        "answer": "B",
        "choices": ["red", "blue"],
        "solution": "it is",
        "kind": "art",
        "fields": {"grade": "3"},
    }


def test_a_row_without_choices_does_not_end_in_their_empty_line(reader):
    assert reader(template="{problem}\n{choices}").row(ASKED, "r")["problem"] == "1 + 1?"


def test_no_answer_column_is_an_empty_answer(reader):
    assert reader(answer=None).row(ASKED, "r")["answer"] == ""


def test_a_template_alone_can_ask(reader):
    assert reader(problem=None, template="Look.").row(ASKED, "r")["problem"] == "Look."


def test_replacements_come_in_order_and_before_the_template(reader):
    read = reader(replace=[("^Solve:\\s*", ""), ("\\+", "plus")], template="[{problem}]")
    assert read.row(ASKED | {"problem": "Solve: 1 + 1"}, "r")["problem"] == "[1 plus 1]"


def test_an_answer_pattern_takes_its_group(reader):
    read = reader(answer_pattern="<answer>(.*?)</answer>")
    row = read.row(ASKED | {"answer": "so <answer> 1\n2 </answer>"}, "r")
    assert row["answer"] == "1\n2"


@pytest.mark.parametrize(
    ("changes", "record", "message"),
    [
        (
            {},
            {"answer": " "},
            "^r: its answer is empty; mend the data, or leave such rows out with",
        ),
        ({}, {"answer": None}, "its answer is empty"),
        ({}, {"problem": ""}, "its problem is empty"),
        ({"answer_pattern": "=(.*)"}, {}, "answer '2' does not fit data.rows.answer_pattern==(.*)"),
        ({"template": "{question}"}, {}, "names the column 'question', the data has choices, kind"),
        ({"template": "\\boxed{}"}, {}, "write braces that are not a column's twice"),
        ({"template": "\\boxed{"}, {}, "cannot be read"),
    ],
)
def test_a_row_that_cannot_be_asked(reader, changes, record, message):
    with pytest.raises(UserError) as caught:
        reader(**changes).row(ASKED | record, "r")
    assert message.removeprefix("^") in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"answer_form": "word"},
            "answer_form=word is unknown; choose letter, index, number, text",
        ),
        (
            {"answer_pattern": "boxed"},
            "answer_pattern=boxed has no group; put the answer's part in",
        ),
        ({"answer_pattern": "("}, r"data.rows.answer_pattern=\( is no regular expression: "),
        ({"replace": [("*", "")]}, r"data.rows.replace=\* is no regular expression: "),
    ],
)
def test_settings_that_cannot_be(reader, changes, message):
    with pytest.raises(UserError, match=message):
        reader(**changes)


def test_fill_leaves_braces_of_values_alone():
    assert fill("{a} {{b}}", {"a": "{b}"}) == "{b} {b}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        ("", []),
        (["x", None, 3], ["x", "3"]),
        ({"A": "x", "B": "y", "C": None}, ["x", "y"]),
        ("['x', \"it's\"]", ["x", "it's"]),
    ],
)
def test_options_in_all_their_forms(value, expected):
    assert options(value, "r") == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x or y", "'x or y' is no list of choices"),
        (["x"] * 27, "27 choices are more than letters"),
    ],
)
def test_options_that_are_none(value, message):
    with pytest.raises(RowError, match=f"^r: {message}; mend"):
        options(value, "r")


def test_choices_over_several_columns(reader):
    record = ASKED | {"answer": "C", "A": "1", "B": "3", "C": "2", "D": None}
    row = reader(choices=["A", "B", "C", "D"]).row(record, "r")
    assert (row["choices"], row["answer"]) == (["1", "3", "2"], "C")
    assert lettered(row["choices"]) == "A. 1\nB. 3\nC. 2"


@pytest.mark.parametrize(
    ("answer", "form"),
    [("C", "letter"), ("(c).", "letter"), ("2", "index"), ("3", "number"), (" Blue ", "text")],
)
def test_every_form_of_an_answer_is_its_letter(answer, form):
    assert letter_of(answer, ["red", "green", "blue"], form, "r") == "C"


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("D", "letter"),
        ("AB", "letter"),
        (".", "letter"),
        ("3", "index"),
        ("-1", "index"),
        ("0", "number"),
        ("b", "index"),
        ("teal", "text"),
    ],
)
def test_an_answer_that_is_no_choice_names_the_row(answer, form):
    message = f"^mine/train/7: the answer '{answer}' is none of its 3 choices, read as data.rows"
    with pytest.raises(RowError, match=f"{message}.answer_form={form}; mend"):
        letter_of(answer, ["red", "green", "blue"], form, "mine/train/7")


@pytest.mark.parametrize(
    ("text", "images", "expected"),
    [
        ("no marker", ["a", "b"], ("no marker", ["a", "b"])),
        ("x <image> y <image>", ["a", "b"], ("x <image> y <image>", ["a", "b"])),
        ("<image 2> then <image 1>", ["a", "b"], ("<image> then <image>", ["b", "a"])),
        ("<image1> or <image1>", ["a"], ("<image> or <image>", ["a", "a"])),
        ("see <image 2>", ["a", "b"], ("<image>see <image>", ["a", "b"])),
    ],
)
def test_one_marker_per_image(text, images, expected):
    assert placed(text, images, "r") == expected


@pytest.mark.parametrize(
    ("text", "images", "found"),
    [("<image>", [], 1), ("<image>", ["a", "b"], 1), ("<image 3>", ["a", "b"], 1)],
)
def test_markers_without_their_images(text, images, found):
    message = f"its text has {found} image markers, the row has {len(images)} images"
    with pytest.raises(RowError, match=message):
        placed(text, images, "r")
