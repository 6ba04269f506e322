"""The page in a real browser."""

import json

import pytest
from browser.fake_runs import write_run
from playwright.sync_api import expect

from gndpo.report.cli import build
from gndpo.report.load import find_runs
from gndpo.report.page.html import write_page

pytestmark = pytest.mark.browser
PANELS = ("#gradient-plots", "#fan-plots", "#kind-plot", "#blind-plot")


def names(page, selector):
    return page.locator(selector).all_inner_texts()


def arms(page):
    return [row.get_attribute("data-arm") for row in page.locator("tr[data-arm]").all()]


def diff_rows(page):
    return [
        row.locator("td").all_inner_texts() for row in page.locator("#diff-table tbody tr").all()
    ]


def draw(page, selector):
    """Scroll a panel into view and wait until it has drawn."""
    page.locator(selector).scroll_into_view_if_needed()
    page.wait_for_selector(f"{selector}[data-drawn]")


def test_every_panel_draws_without_an_error_or_a_request(look, report):
    seen = look(report)
    for figure in range(4):
        seen.page.locator(".curve").nth(figure).scroll_into_view_if_needed()
        seen.page.locator(".curve[data-drawn]").nth(figure).wait_for()
    for panel in PANELS:
        draw(seen.page, panel)
    assert seen.page.locator(".curve .js-plotly-plot").count() == 4
    assert seen.page.locator("#gradient-plots .js-plotly-plot").count() == 5
    assert seen.page.locator("#fan-plots .js-plotly-plot").count() == 10
    assert seen.errors == []
    assert seen.outside == []


def test_the_answer_is_on_the_first_screen(look, report):
    page = look(report).page
    for card in page.locator(".card").all():
        box = card.bounding_box()
        assert box["y"] + box["height"] < 450
    titles = names(page, ".card h2")
    assert titles == ["Learned most", "Most stable", "Cheapest"]
    assert names(page, ".winner")[0] == "full_kl"


def test_a_click_on_a_title_sorts_both_ways(look, report):
    page = look(report).page
    accuracies = page.evaluate("ARMS.map((arm) => [arm.cells.accuracy[1], arm.name])")
    ascending = [name for _, name in sorted(accuracies)]
    page.locator('th[data-key="accuracy"] button').click()
    assert arms(page) == ascending[::-1]
    page.locator('th[data-key="accuracy"] button').click()
    assert arms(page) == ascending
    assert page.locator('th[aria-sort="ascending"]').get_attribute("data-key") == "accuracy"


def test_an_arm_opens_into_runs_that_link_to_their_folders(look, report):
    page = look(report).page
    page.locator('tr[data-arm="raw_kl"] .opener').click()
    runs = page.locator("tr.run")
    assert runs.count() == 3
    assert "failed at step 120 of 120" in runs.nth(2).inner_text()
    target = page.evaluate("document.querySelectorAll('tr.run a')[2].href")
    assert target == (report.parents[1] / "raw_kl-2").as_uri() + "/"


def test_filters_by_text_and_by_configuration_reach_table_and_plots(look, report):
    page = look(report).page
    draw(page, "#gradient-plots")
    page.locator('input[type="search"]').fill("gndpo seed=1")
    assert arms(page) == ["gndpo"]
    expect(page.locator("#gradient-plots figure")).to_have_count(1)
    page.locator('input[type="search"]').fill("")
    page.locator("#filters select").select_option("advantage.clamp")
    page.locator('[data-filter="advantage.clamp"] label', has_text="null").locator(
        "input"
    ).uncheck()
    assert arms(page) == ["gndpo"]
    assert "1 of 5 arms, 3 of 15 runs" in page.locator("#count").inner_text()
    page.locator('[data-filter="advantage.clamp"] button').click()
    assert len(arms(page)) == 5


def test_arms_are_switched_off_and_on(look, report):
    page = look(report).page
    draw(page, "#gradient-plots")
    page.locator(".chip", has_text="raw_kl").click()
    expect(page.locator("#gradient-plots figure")).to_have_count(4)
    page.get_by_role("button", name="all", exact=True).click()
    expect(page.locator("#gradient-plots figure")).to_have_count(5)


def test_another_metric_is_chosen_by_its_name_and_scaled(look, report):
    page = look(report).page
    figure = page.locator(".curve").first
    figure.locator("input").fill("time/step")
    page.wait_for_selector('.plot[data-metric="time/step"][data-scale="linear"]')
    assert figure.locator(".meaning").inner_text() == "seconds for the whole step"
    figure.locator(".scale").click()
    page.wait_for_selector('.plot[data-metric="time/step"][data-scale="log"]')
    axis = "document.querySelector('.curve .plot')._fullLayout.yaxis.type"
    assert page.evaluate(axis) == "log"


def test_pointing_at_a_curve_tells_its_numbers(look, report):
    page = look(report).page
    figure = page.locator('.curve[data-metric="grad/norm"]')
    figure.scroll_into_view_if_needed()
    page.wait_for_selector('.curve[data-metric="grad/norm"][data-drawn]')
    figure.locator(".nsewdrag").hover()
    page.wait_for_selector(".hoverlayer .hovertext")
    told = " ".join(page.locator(".hoverlayer .hovertext").all_text_contents())
    assert "raw_kl:" in told


def test_two_arms_differ_in_their_advantage_alone(look, report):
    page = look(report).page
    page.locator("#diff-controls select").nth(0).select_option(label="raw_kl")
    page.locator("#diff-controls select").nth(1).select_option(label="gndpo")
    assert names(page, "#diff-table tbody th") == ["advantage.clamp"]
    assert names(page, "#diff-table td") == ["null", "5.0", "advantage"]
    assert "Apart from the advantage" in page.locator("#diff-verdict.fine").inner_text()


@pytest.mark.parametrize(
    ("more", "kinds", "style", "said"),
    [
        ("", {"by design of the method"}, "fine", "and by design of the method rollout.mix"),
        (
            "weight_decay: 0.1\n",
            {"by design of the method", "not only the advantage"},
            "warning",
            "more than the advantage: weight_decay.",
        ),
    ],
)
def test_a_method_differs_by_design_and_else_unfairly(look, tmp_path, more, kinds, style, said):
    plain = write_run(tmp_path / "plain", "full_kl", 0, 20)
    preset = write_run(tmp_path / "gkd", "full_kl", 0, 20, experiment="methods/gkd")
    for folder, text in (
        (plain, "rollout: {mix: 1.0}\n"),
        (preset, "rollout: {mix: 0.5}\n" + more),
    ):
        with (folder / ".hydra" / "config.yaml").open("a") as file:
            file.write(text)
    page = look(write_page(build(find_runs([tmp_path])), tmp_path)).page
    assert {row[-1] for row in diff_rows(page)} == kinds
    assert said in page.locator(f"#diff-verdict.{style}").inner_text()


def test_a_run_without_its_number_of_steps_says_so(look, tmp_path):
    folder = write_run(tmp_path / "a", "gndpo", 0, 20, status="failed")
    info = json.loads((folder / "run.json").read_text())
    del info["steps"]
    (folder / "run.json").write_text(json.dumps(info))
    page = look(write_page(build(find_runs([tmp_path])), tmp_path)).page
    page.locator(".opener").click()
    assert "failed at step 20 of ?" in page.locator("tr.run").inner_text()


def test_dark_and_light_change_page_and_plots(look, report):
    page = look(report, color_scheme="dark").page
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(ground) == "rgb(20, 22, 26)"
    draw(page, "#kind-plot")
    page.locator("#theme").click()
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.locator("#kind-plot").scroll_into_view_if_needed()  # drawn again when it is seen again
    expect(page.locator("#kind-plot .ytick text").first).to_have_css("fill", "rgb(28, 30, 33)")


def test_a_narrow_screen_scrolls_downwards_only(look, report):
    page = look(report, viewport={"width": 400, "height": 800}).page
    assert page.evaluate("document.documentElement.scrollWidth") == 400
