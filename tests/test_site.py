"""The documentation's site: its references are whole, its links lead somewhere, it loads nothing
from elsewhere."""

import importlib
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import hydra
import pytest
import yaml

from gndpo.listing import GROUPS, INTERNAL
from gndpo.metric_names import METRICS

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
FILES = [
    path for path in sorted(CONF.rglob("*.yaml")) if path.relative_to(CONF).parts[0] not in INTERNAL
]
PAGES = ("index", "quickstart", "reproducing")
LINES = [
    line
    for page in PAGES
    for line in re.findall(
        r"^    (gndpo-train (?:.*\\\n)*.*)$", (ROOT / f"docs/{page}.md").read_text(), re.M
    )
]


@pytest.fixture(scope="module")
def references():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs" / "_generate")
        yield importlib.import_module("references")


@pytest.fixture(scope="module")
def configuration(references):
    return references.configuration(CONF, (ROOT / "docs" / "methods.md").read_text())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built strictly."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return out


def names(value):
    """Every key in a nested value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names(inner)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONF)))
def test_every_option_is_listed_with_its_comment_and_every_key(file, configuration):
    inner = file.relative_to(CONF).with_suffix("").as_posix()
    group, _, name = inner.partition("/")
    if name.startswith("rows/"):
        group, name = "data_rows", name.removeprefix("rows/")
    page = configuration[f"configuration/{group if name else 'commands'}.md"]
    entry = f"{page}\n\n## ".partition(f"\n\n## {name or group}\n\n")[2].partition("\n\n## ")[0]
    content = yaml.safe_load(file.read_text()) or {}
    for key in {*names(content)} - {*names(content.get("defaults"))}:
        assert key in {"defaults", "_partial_", "_convert_", "_target_"} or key in entry
    assert str(content.get("_target_", "")) in entry
    first = next((x for x in file.read_text().splitlines() if re.match("# [^@]", x)), "")
    assert words(first) in words(entry)


def words(text):
    """Letters and digits alone: what no mark-up changes."""
    return re.sub(r"[^a-z0-9]+", " ", re.sub(r"&\w+;", " ", text.lower())).strip()


def test_a_key_stands_at_its_address_with_its_value_and_comment(configuration):
    rollout = configuration["configuration/rollout.md"]
    row = "| `rollout.speed.grow` | `true` | caches have room for the next tokens |"
    assert row in rollout
    assert "| `rollout.speed` |  | the same answers in less time |" in rollout
    demo = configuration["configuration/budget.md"]
    assert "| `optimizer` | `{lr: 2.0e-3, betas: [0.9, 0.99]}` |  |" in demo
    assert "| `trainer.devices` | `1` |  |" in configuration["configuration/trainer.md"]


def test_every_group_is_introduced(references):
    groups = references.options_by_group(CONF)
    assert {*groups} == {*GROUPS, "commands", "data/rows"}
    assert references.what("trainer") == "Device."


def test_a_file_is_read_as_it_is_written(references, tmp_path):
    file = tmp_path / "one.yaml"
    file.write_text(
        "# @package _global_\n# What it is,\n# and more.\ndefaults: [two, _self_, /a@b: c]\n"
        "_target_: here\n_partial_: true\nx: 'a # b'  # beside\n# above\ny:  # of y\n"
        "  z: {p: 1,\n    q: [2]}  # behind\n  t: >-\n    folded\n    text\n# not of t\n"
        "  l:\n    - [1, 2]\n    - 3\n"
    )
    option = references.read_option(file, "one", "group.")
    assert (option.place, option.about, option.target) == ("", "What it is, and more.", "here")
    assert option.base == ("two", "/a@b: c")
    assert [(key.name, key.value, key.meaning) for key in option.keys] == [
        ("x", "'a # b'", "beside"),
        ("y", "", "above of y"),
        ("y.z", "{p: 1, q: [2]}", "behind"),
        ("y.t", "folded text", ""),
        ("y.l", "[[1, 2], 3]", "not of t"),
    ]


def test_every_metric_has_a_row_with_its_meaning(references):
    page = references.metrics(METRICS)
    rows = re.findall(r"^\| `(.+)` \| (.+) \|$", page, re.M)
    assert [name for name, _ in rows] == [*METRICS]
    assert [words(meaning) for _, meaning in rows] == [words(x) for x in METRICS.values()]


def test_no_mark_up_comes_from_a_comment(references):
    assert references.plain("a*b* <c> `d_e` [f]") == r"a\*b\* &lt;c&gt; `d_e` \[f\]"


@pytest.mark.parametrize("line", LINES)
def test_the_lines_that_train_compose(line):
    words = shlex.split(line.replace("\\\n", ""), comments=True)[1:]
    one_each = [word.partition(",")[0] for word in words if "=" in word]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        assert hydra.compose("train", one_each).steps > 0


@pytest.mark.parametrize("file", sorted((ROOT / "docs" / "assets").glob("*.svg")), ids=str)
def test_a_drawing_is_xml_with_a_title_and_loads_nothing(file):
    root = ElementTree.parse(file).getroot()
    tag = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{tag}svg"
    assert root.findtext(f"{tag}title")
    assert root.findtext(f"{tag}desc")
    assert "http" not in file.read_text().replace("http://www.w3.org/2000/svg", "")


class Links(HTMLParser):
    """What a page links to (a), what it loads (all else), and the places that it has."""

    def __init__(self):
        super().__init__()
        self.linked, self.loaded, self.places = [], [], {""}

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        target = given.get("href") or given.get("src")
        if target:
            (self.linked if tag == "a" else self.loaded).append(target)
        self.places |= {given.get("id"), given.get("name")}


@pytest.fixture(scope="module")
def built(site):
    found = {}
    for file in site.rglob("*.html"):
        found[file.resolve()] = links = Links()
        links.feed(file.read_text())
    return found


def test_every_link_of_the_built_site_leads_somewhere(built):
    for page, links in built.items():
        if page.name == "404.html":  # its links start at the root of a server
            continue
        for target in links.linked:
            path, _, place = target.partition("#")
            if ":" in path:
                continue
            file = (page.parent / unquote(path)).resolve() if path else page
            assert file.exists(), f"{page.name}: {target}"
            assert file not in built or unquote(place) in built[file].places, f"{page}: {target}"


def test_no_page_loads_anything_from_elsewhere(site, built):
    for page, links in built.items():
        for target in links.loaded:
            assert not re.match(r"(\w+:)?//", target), f"{page.name} loads {target}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(\w+:)?//", style.read_text()), style


def test_the_site_has_every_page_that_was_made_and_the_drawing_in_its_colours(site, configuration):
    for address in (*configuration, "metrics.md", "api.md", "experiments/digits/README.md"):
        name = address.replace("README.md", "index.md").removesuffix(".md")
        assert (site / f"{name}.html").exists(), address
    assert 'class="step"' in (site / "concepts.html").read_text()
    for known in ("gndpo.scores.Scores", "gndpo.advantages.gndpo.gndpo", "gndpo.report.stats.gain"):
        assert f'id="{known}"' in (site / "api.html").read_text()
