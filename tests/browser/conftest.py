"""A headless Chromium, and pages that note every error and every request they make."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from browser.fake_runs import write_sweep
from playwright.sync_api import Browser, Page, sync_playwright

from gndpo.report.cli import build
from gndpo.report.load import find_runs
from gndpo.report.page.html import write_page

LOCAL = ("file:", "data:", "blob:")
WIDE = {"width": 1400, "height": 900}


@dataclass
class Seen:
    """A page, and what it complained about or asked for."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def outside(self) -> list[str]:
        """Requests that left the file."""
        return [url for url in self.requests if not url.startswith(LOCAL)]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of five strategies with three seeds each."""
    return write(write_sweep(tmp_path_factory.mktemp("sweep")))


def write(sweep: Path) -> Path:
    out = sweep / "report"
    out.mkdir()
    return write_page(build(find_runs([sweep])), out)


@pytest.fixture
def look(chromium: Browser) -> Iterator[Callable[..., Seen]]:
    """look(path, **context): the page, once it is ready."""
    contexts = []

    def opened(path: Path, **changes: object) -> Seen:
        context = chromium.new_context(**({"viewport": WIDE} | changes))
        contexts.append(context)
        seen = Seen(context.new_page())
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on("console", lambda said: said.type == "error" and seen.errors.append(said.text))
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.goto(path.as_uri())
        seen.page.wait_for_selector("html[data-ready]")
        return seen

    yield opened
    for context in contexts:
        context.close()
