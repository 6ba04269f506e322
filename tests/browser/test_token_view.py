"""Answers, token by token, in a real browser."""

import pytest
from browser.fake_runs import HOSTILE

pytestmark = pytest.mark.browser


@pytest.fixture
def page(look, report):
    seen = look(report)
    seen.page.locator("#tokens").scroll_into_view_if_needed()
    return seen.page


def cells(page, colouring):
    return page.locator(f'tr[data-colouring="{colouring}"] td')


def test_the_same_answer_stands_under_every_colouring(page):
    rows = [row.get_attribute("data-colouring") for row in page.locator(".sheet tbody tr").all()]
    assert rows[:4] == ["log-ratio", "advantage: raw_kl", "advantage: gndpo", "loss: full_kl"]
    assert "note: trust_region/accepted" in rows
    assert cells(page, "log-ratio").all_inner_texts()[2] == "−12"
    assert page.evaluate("document.querySelector('.answer-head img').naturalWidth") == 56


def test_an_outlier_is_the_darkest_token_and_comes_first(page):
    assert "−12.3" in page.locator(".answers button").first.inner_text()
    assert "strong" in cells(page, "log-ratio").nth(2).get_attribute("class")
    assert page.locator("#extremes tbody tr").first.locator("td").nth(2).inner_text() == "−12.3"


def test_pointing_at_a_token_tells_all_its_numbers(page):
    cells(page, "advantage: gndpo").nth(2).hover()
    told = page.locator("#tip").inner_text()
    assert "token 3 of 7" in told
    for name in ("log-ratio", "advantage: raw_kl", "loss: full_kl", "visual dependency"):
        assert name in told


def test_one_colouring_is_running_text(page):
    page.locator("#token-controls select").nth(1).select_option("visual dependency")
    assert page.locator(".chips .token").count() == 7
    assert page.locator(".sheet").count() == 0


def test_an_extreme_token_leads_to_its_answer(page):
    page.get_by_label("Most extreme by").select_option("visual dependency")
    row = page.locator("#extremes tbody tr").nth(3)
    token = row.locator("button").inner_text()
    row.locator("button").click()
    assert page.locator(".sheet .marked").inner_text() in token


def test_what_a_model_wrote_stays_text(page):
    assert page.locator("#tokens img").count() == 1  # the prompt's own image
    assert page.title() == "gndpo: comparison"
    assert HOSTILE.replace(" ", "·") in page.locator("#extremes").inner_text()
    assert "<img" in page.locator("dd").first.inner_text()
