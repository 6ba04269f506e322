"""The page as a whole: what it says, what it embeds, and that it trusts nothing that it shows."""

import base64
import gzip
import json
import math
import re
import signal
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser

import pytest

from gndpo.errors import UserError
from gndpo.report.arms import group
from gndpo.report.cli import build, main
from gndpo.report.load import find_runs, read_run
from gndpo.report.measures import Summary
from gndpo.report.page.html import page
from gndpo.report.page.overview import cards, dash, link, run_row
from gndpo.report.page.tokens import answers
from gndpo.report.stats import interval
from gndpo.report.verdict import verdict
from tests.durability.conftest import elsewhere

HOSTILE = "</script><img src=x onerror=alert(1)>"


class Scripts(HTMLParser):
    """The tags of a page, and what its data scripts hold."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.packs, self.inside = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self.inside = found.get("data-pack") or found.get("id") if tag == "script" else None

    def handle_data(self, data):
        if self.inside:
            self.packs[self.inside] = self.packs.get(self.inside, "") + data

    def handle_endtag(self, tag):
        self.inside = None

    @property
    def meta(self):
        return json.loads(self.packs["meta"])

    def pack(self, name):
        return json.loads(gzip.decompress(base64.b64decode(self.packs[name])))


@pytest.fixture
def scripts(sweep):
    return Scripts(page(build(find_runs([sweep])), sweep / "report" / "report.html"))


def test_the_page_holds_everything_and_asks_for_nothing(scripts):
    meta = scripts.meta
    assert len(meta["arms"]) == 5
    assert len(meta["runs"]) == 15
    assert {f"curve/{name}" for name in meta["metrics"]} < scripts.packs.keys()
    assert not [tags for tags in scripts.tags if {"src", "href"} & tags[1].keys()]
    policy = next(found["content"] for tag, found in scripts.tags if "http-equiv" in found)
    assert policy.startswith("default-src 'none'")


def test_arms_come_with_numbers_runs_and_links(scripts, sweep):
    meta = scripts.meta
    first, last = meta["arms"][0], meta["arms"][-1]
    assert (first["name"], first["colour"], first["dash"]) == ("full_kl", "#0072B2", "solid")
    assert (last["name"], last["completed"], last["total"]) == ("raw_kl", 2, 3)
    text, mean, low, high = first["cells"]["accuracy"]
    assert re.fullmatch(r"\d\d\.\d ± \d+\.\d", text)
    assert low < mean < high < 1
    failed = meta["runs"][last["runs"][2]]
    assert (failed["status"], failed["reason"]) == ("failed", "loss was not finite")
    assert (sweep / "report" / failed["link"]).resolve() == (sweep / "raw_kl-2").resolve()


def test_cards_name_the_winners_and_say_how_sure_that_is(sweep):
    summaries = build(find_runs([sweep])).summaries
    found = {card.title: card for card in cards(summaries)}
    steadiest = min(summaries, key=lambda arm: arm.values["tail_ratio"].mean)
    assert list(found) == ["Learned most", "Most stable", "Cheapest"]
    assert found["Learned most"].arm == "full_kl"
    assert "clear of the next, decomposed" in found["Learned most"].notes[1]
    assert found["Most stable"].arm == steadiest.name
    assert found["Most stable"].notes[-1].startswith("least stable: raw_kl, ")


def learned(name, accuracies, gains):
    values = {"accuracy": interval(accuracies), "gain": interval(gains)}
    return Summary(name, name, len(gains), 0, values)


def test_the_first_card_compares_by_what_it_ranks_as_the_verdict_does():
    arms = [
        learned("strong_start", [0.90, 0.90, 0.91], [0.02, 0.02, 0.03]),
        learned("weak_start", [0.70, 0.70, 0.71], [0.30, 0.30, 0.31]),
    ]
    card = cards(arms)[0]
    assert card.arm == "weak_start"
    assert re.fullmatch(r"clear of the next, strong_start: \+?2\.3.* points", card.notes[1])
    assert "its interval lies clear of the next, strong_start" in verdict(arms)


def test_one_seed_has_no_interval_to_lie_clear_of():
    arms = [learned("gndpo", [0.8], [0.3]), learned("raw_kl", [0.6], [0.1])]
    assert cards(arms)[0].notes[1].startswith("one seed, no interval; the next, raw_kl: ")


def test_a_run_that_diverged_shows_only_its_finite_numbers(tmp_path, make_run):
    rows = [{"step": step, "grad/norm": math.inf} for step in range(1, 31)]
    tested = {"model": "student", "split": "test"}
    evals = [tested | {"step": 0, "eval/acc_1": 0.5}, tested | {"step": 9, "eval/acc_1": math.nan}]
    run = read_run(make_run(tmp_path / "a", "gndpo", 0, metrics=rows, evals=evals))
    shown = run_row(run, tmp_path / "report.html")["cells"]
    assert {"accuracy", "gain", "tail_ratio"}.isdisjoint(shown)
    assert all(math.isfinite(mean) for _, mean, *_ in shown.values())


def test_a_page_is_made_of_odd_logs(tmp_path, make_run):
    folder = make_run(tmp_path / "a", "gndpo", 0)
    tokens = {"text": ["x"]}
    odd = [{"step": 61, "note/x": "abc", "grad/norm": "abc"}, {"train/loss": 1.0}]
    for log, rows in {
        "metrics.jsonl": odd,
        "samples.jsonl": [{"tokens": tokens}, {"step": 1, "tokens": tokens}],
    }.items():
        with (folder / log).open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    found = Scripts(page(build(find_runs([tmp_path])), tmp_path / "report.html"))
    assert "note/x" not in found.meta["metrics"]
    assert found.pack("curve/grad/norm")["runs"][0][0][-1] == 60
    assert len(found.pack("tokens")[0]["answers"]) == 1


def test_runs_that_have_only_begun_make_a_page_without_cards(tmp_path, make_run):
    folder = make_run(tmp_path / "a", "gndpo", 0, status="running", step=0)
    for log in ("metrics.jsonl", "eval.jsonl"):
        (folder / log).unlink()
    text = page(build(find_runs([tmp_path])), tmp_path / "report.html")
    assert "No strategy has a final test accuracy yet." in text
    assert 'class="card"' not in text


def test_the_page_tells_a_run_at_work_from_one_that_was_killed(tmp_path, make_run):
    folder = make_run(tmp_path / "a", "gndpo", 0, status="running", pid=7, host="node")

    def shown():
        (row,) = Scripts(page(build(find_runs([tmp_path])), tmp_path / "x.html")).meta["runs"]
        return row["status"], row["reason"]

    with elsewhere(folder):
        assert shown() == ("running", "at work: process 7 on node")
    assert shown()[0] == "interrupted"


def test_names_of_arms_and_words_of_models_never_become_html(tmp_path, make_run):
    overrides = ["advantage=gndpo", f"data.name={HOSTILE}"]
    folder = make_run(tmp_path / "a", "gndpo", 0, overrides=overrides, reason=HOSTILE)
    make_run(tmp_path / "b", "gndpo", 1, status="failed", reason=HOSTILE)
    answer = {"prompt": HOSTILE, "tokens": {"text": [HOSTILE], "log_ratio": [-3.0]}}
    (folder / "tokens.json").write_text(json.dumps({"answers": [answer], "model": HOSTILE}))
    found = Scripts(page(build(find_runs([tmp_path])), tmp_path / "report.html"))
    assert not [tag for tag, _ in found.tags if tag == "img"]
    assert found.pack("tokens")[0]["answers"][0]["prompt"] == HOSTILE
    assert HOSTILE in found.meta["arms"][0]["name"]


def test_links_lead_from_the_page_to_the_run(tmp_path):
    run = tmp_path / "a b" / "lr=1%"
    assert link(run, tmp_path / "report" / "report.html") == "../a%20b/lr%3D1%25/"


def test_dashes_are_those_of_the_figures():
    assert dash("-") == "solid"
    assert dash((0, (1, 1.5))) == "2px,3px"


def test_without_inspected_tokens_the_last_samples_are_shown(tmp_path, make_run):
    folder = make_run(tmp_path / "a", "gndpo", 0)
    tokens = {"text": ["x"], "student": [-1.0], "teacher": [-3.0], "advantage": [-0.5], "gate": [1]}
    rows = [
        {"step": step, "prompt": "?", "truth": "x", "reward": 0.0, "correct": 0.0, "tokens": tokens}
        for step in (1, 5)
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs = find_runs([tmp_path])
    (found,) = answers(runs, group(runs))
    assert (found["file"], found["step"], len(found["answers"])) == ("samples.jsonl", 5, 1)
    assert found["answers"][0]["tokens"]["log_ratio"] == [-2.0]
    assert found["answers"][0]["advantages"] == {"gndpo": [-0.5]}
    assert found["answers"][0]["notes"] == {"gate": [1]}


def test_answers_beyond_the_room_are_left_out_and_counted(tmp_path, make_run, monkeypatch):
    folder = make_run(tmp_path / "a", "gndpo", 0)
    (folder / "tokens.json").write_text(json.dumps({"answers": [{"tokens": "x" * 40}] * 5}))
    monkeypatch.setattr("gndpo.report.page.tokens.MOST_CHARACTERS", 130)
    runs = find_runs([tmp_path])
    (found,) = answers(runs, group(runs))
    assert (len(found["answers"]), found["left_out"]) == (2, 3)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"answers": 1}', '{"answers": [1]}', '{"answers": [{"prompt": "?"}]}'],
)
def test_a_broken_tokens_file_is_named(tmp_path, make_run, text):
    folder = make_run(tmp_path / "a", "gndpo", 0)
    (folder / "tokens.json").write_text(text)
    runs = find_runs([tmp_path])
    with pytest.raises(UserError, match=r"tokens\.json: .* make it again with gndpo-inspect run="):
        answers(runs, group(runs))


def test_the_command_names_the_page_last(sweep, capsys):
    main([str(sweep), "--html"])
    last = capsys.readouterr().out.rstrip().splitlines()[-1]
    assert last == f"Open {sweep / 'report' / 'report.html'} in a browser"
    assert (sweep / "report" / "report.html").exists()


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_seconds_between_pages_are_above_zero(sweep, seconds, capsys):
    with pytest.raises(SystemExit):
        main([str(sweep), "--watch", seconds])
    assert "give a number of seconds above 0" in capsys.readouterr().err


def test_a_watched_page_is_written_until_ctrl_c(tmp_path, make_run):
    make_run(tmp_path / "a", "gndpo", 0, status="running", step=30)
    command = [sys.executable, "-m", "gndpo.report.cli", str(tmp_path), "--watch", "0.01"]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # also below `nohup` or `&`
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heed) as process:
        for line in process.stdout:
            if "0 of 1 runs completed" in line:
                process.send_signal(signal.SIGINT)
                break
        process.stdout.read()
    assert process.returncode == 0
    text = (tmp_path / "report" / "report.html").read_text()
    assert "written again every 0.01 s" in text
