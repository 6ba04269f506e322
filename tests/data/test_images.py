"""Images in every form in which data hold them."""

import base64
import zipfile

import pytest
from PIL import Image

from gndpo.data.images import decoded, flat, opened
from gndpo.data.records import RowError
from gndpo.errors import UserError

RED = (255, 0, 0)


@pytest.fixture
def red(draw):
    return draw("red")


def test_every_form_gives_the_same_pixels(red, encode, tmp_path):
    data = encode(red)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "red.png").write_bytes(data)
    archive = tmp_path / "red.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("red.png", data)
    plain = base64.b64encode(data).decode()
    absolute = str(tmp_path / "sub" / "red.png")
    forms = [
        data,
        {"bytes": data, "path": None},
        {"bytes": data, "path": "elsewhere.png"},
        {"bytes": None, "path": absolute},
        absolute,
        "sub/red.png",
        plain,
        f"data:image/png;base64,{plain}",
        {"bytes": None, "path": f"zip://red.png::{archive}"},
    ]
    for form in forms:
        image = decoded(form, tmp_path, "r")
        assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (8, 6), RED)


def test_the_header_tells_the_size_of_half_an_image(red, encode):
    large = encode(red.resize((400, 300)))
    assert opened(large[:60], None, "r").size == (400, 300)
    with pytest.raises(RowError, match=r"^r: an image cannot be read \(.*\); mend the data, or"):
        decoded(large[:60], None, "r")


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "P", "LA"])
def test_other_modes_become_rgb(mode, draw, encode, tmp_path):
    source = draw("white", mode="RGB").convert(mode)
    if mode == "CMYK":
        source.save(tmp_path / "x.jpg")
        data = (tmp_path / "x.jpg").read_bytes()
    else:
        data = encode(source)
    image = decoded(data, None, "r")
    assert (image.mode, image.getpixel((1, 1))) == ("RGB", (255, 255, 255))


def test_what_is_transparent_becomes_white(encode):
    clear = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    clear.putpixel((1, 0), (0, 0, 0, 255))
    image = decoded(encode(clear), None, "r")
    assert [image.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 0)]


def test_a_photograph_is_turned_as_the_camera_says(draw, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    draw("red", size=(8, 6)).save(tmp_path / "x.jpg", exif=exif)
    assert decoded("x.jpg", tmp_path, "r").size == (6, 8)


def test_one_image_a_list_of_them_or_none():
    assert flat(None) == flat([]) == flat([None, ""]) == []
    assert flat("a.png") == ["a.png"]
    assert flat([["a.png"], None, "b.png"]) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"no image", r"an image cannot be read \(cannot identify image file"),
        ("AAAA", r"an image cannot be read \(cannot identify"),
        ("not base64!", r"an image cannot be read \("),
        ("images/none.png", "there is no image file .*images/none.png; mend"),
        (7, "7 is no image; mend"),
        ({"bytes": None, "path": None}, "None is no image"),
    ],
)
def test_what_is_no_image_names_the_row(value, message, tmp_path):
    with pytest.raises(RowError, match=f"^mine/train/4: {message}"):
        decoded(value, tmp_path, "mine/train/4")


def test_a_relative_path_of_a_hub_data_set_needs_a_folder():
    with pytest.raises(
        UserError, match=r"^r: the image a/b.png is a relative path; say where it st"
    ):
        decoded("a/b.png", None, "r")
