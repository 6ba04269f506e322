"""The figure of many arms: order, marks, words, and labels that do not overlap."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest

from gndpo.report.arms import group
from gndpo.report.load import find_runs
from gndpo.report.measures import Summary, summarize
from gndpo.report.palette import COLOURS, GREY, STYLE
from gndpo.report.ranking import Place, caption, draw, places, title
from gndpo.report.stats import interval


def place(name, gains, tails=(2.0, 3.0), ceiling=40.0, strategy="", unfinished=0):
    values = {"tail_ratio": interval(tails)} if tails else {}
    values |= {"gain": interval(np.array(gains) / 100)} if gains else {}
    arm = Summary(name, strategy or name, len(gains), unfinished, values)
    return Place(arm, list(gains), list(tails), ceiling)


@pytest.fixture
def figure_of():
    def build(ranked):
        with plt.rc_context(STYLE):
            figure = draw(ranked, caption(ranked, []))
            figure.canvas.draw()
        return figure

    yield build
    plt.close("all")


def test_places_hold_every_completed_seed_and_go_by_gain(sweep):
    arms = group(find_runs([sweep]))
    found = places(arms, [summarize(arm) for arm in arms])
    assert [p.arm.name for p in found] == [
        "full_kl", "decomposed", "trust_region", "gndpo", "raw_kl",
    ]  # fmt: skip
    assert [len(p.gains) for p in found] == [len(p.tails) for p in found] == [3, 3, 3, 3, 2]
    assert np.mean(found[0].gains) == pytest.approx(100 * found[0].arm.values["gain"].mean)
    assert found[0].ceiling == pytest.approx(40)
    assert found[-1].label == "raw_kl (2 of 3)"


def test_a_teacher_that_leads_nowhere_is_no_ceiling(tmp_path, make_run):
    run = make_run(tmp_path / "a", "gndpo", 0)
    log = run / "eval.jsonl"
    log.write_text(log.read_text().replace("0.95", "0.55"))
    arms = group(find_runs([run]))
    assert places(arms, [summarize(arm) for arm in arms])[0].ceiling is None


def test_every_seed_mean_and_interval_is_drawn(figure_of):
    left, right = figure_of([place("a", [10.0, 20.0, 30.0]), place("b", [0.0])]).axes
    drawn = [tuple(np.round(line.get_xdata(), 3)) for line in left.lines]
    assert {(10.0, 20.0, 30.0), (20.0,)} <= set(drawn)
    ends = (20 - 4.302653 * 10 / 3**0.5, 20 + 4.302653 * 10 / 3**0.5)  # -4.8 and 44.8: cut
    low, high = left.get_xlim()
    assert tuple(np.round((max(low, ends[0]), min(high, ends[1])), 3)) in drawn
    assert [line.get_marker() for line in left.lines].count("<") == 1
    assert [line.get_marker() for line in left.lines].count(">") == 1
    assert right.get_xscale() == "log"
    assert (2.0, 3.0) in [tuple(line.get_xdata()) for line in right.lines]


def test_sixty_rows_overlap_nowhere(figure_of):
    long = "methods/several_teachers model.pair.student.images=40 rollout.temperature=0.7"
    ranked = [place(f"{long} {i}", [float(60 - i)] * 3, unfinished=1) for i in range(60)]
    figure = figure_of(ranked)
    left, right = figure.axes
    boxes = [label.get_window_extent() for label in left.get_yticklabels()]
    assert len(boxes) == 60
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))
    assert min(box.x0 for box in boxes) >= 0
    words = [figure._suptitle, figure._supxlabel, left.title, left.xaxis.label, right.xaxis.label]
    spots = [text.get_window_extent() for text in words]
    assert not any(a.overlaps(b) for i, a in enumerate(spots) for b in spots[i + 1 :])
    assert all(spot.x1 <= figure.bbox.x1 and spot.y1 <= figure.bbox.y1 for spot in spots)
    assert left.get_window_extent().width > figure.bbox.width / 3


def test_the_papers_strategies_keep_their_colours(figure_of):
    ranked = [place("methods/tropd_mask", [3.0], strategy="trust_region"), place("raw_kl", [2.0])]
    assert [p.colour for p in ranked] == [COLOURS["trust_region"], GREY]
    left, _ = figure_of(ranked).axes
    assert left.get_yticklabels()[0].get_color() == COLOURS["trust_region"]
    assert "trust_region (orange); grey" in caption(ranked, [])


def test_the_title_names_the_extremes_and_a_tie_has_none():
    arms = [place("a", [30.0], (3.0,)).arm, place("b", [-2.0], (2.0,)).arm]
    assert title(arms) == (
        "a gains most (+30.0 points), b least (-2.0); b has the steadiest gradient (p99/median 2)"
    )
    assert title([arms[0]] * 2).startswith("All gain the same (+30.0 points)")


def test_the_caption_says_only_what_is_drawn():
    single = caption([place("a", [1.0], ceiling=None)], [])
    assert single == "Dot: one seed. Upright mark: mean over seeds."
    text = caption([place("a", [1.0, 2.0]), place("b", [1.0, 2.0], tails=())], ["c"] * 7)
    for part in ("95% t interval", "teacher's lead", "median of zero", "c, c, c, c, c and 2 other"):
        assert part in text


def test_rows_without_a_gain_or_a_tail_are_drawn_empty(figure_of):
    left, right = figure_of([place("a", [5.0, 6.0], tails=()), place("b", [])]).axes
    heights = {float(np.mean(line.get_ydata())) for line in right.lines}
    assert heights == {1.0}
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "b"]
