"""A real headless Chromium for the pages: the system's, driven by playwright. Without one the tests skip."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No sandbox as root; nothing that talks to a network of its own accord.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Both widths of a page are looked at: one of them in every run, the other by `make soak`.
WIDE = pytest.param(1280, marks=pytest.mark.soak)
NARROW = pytest.param(400, marks=pytest.mark.soak)

# Two frames: what the page does with what came into its window is done in the first.
FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
DRAWN = "() => [...document.querySelectorAll('.plot')].every(p => p.querySelector('.main-svg'))"


@dataclass
class Visit:
    """An open page with what went wrong on it and what it asked for."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def scroll_through(self) -> None:
        """Bring every part of the page into the window once, until all its figures are drawn."""
        height = self.page.evaluate("document.documentElement.scrollHeight")
        for y in range(0, height, 700):
            self.page.evaluate(f"scrollTo({{top: {y}, behavior: 'instant'}})")
            self.page.evaluate(FRAMES)
        self.page.wait_for_function(DRAWN)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The running browser; skips where none is installed."""
    path = os.environ.get("LOBTUNA_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium is installed: apt-get install chromium, or set LOBTUNA_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS), timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def contexts(chromium: Any) -> dict[tuple[int, bool], Any]:
    """Browser windows by width and network: shared, so that a page's scripts are fetched and compiled once."""
    return {}


@pytest.fixture
def visit(chromium: Any, contexts: dict[tuple[int, bool], Any]) -> Iterator[Callable[..., Visit]]:
    """`visit(url, width)` opens a page and records console errors, exceptions, requests and dialogs."""
    pages = []

    def open_page(url: str, width: int = 1280, offline: bool = False) -> Visit:
        key = (width, offline)
        if key not in contexts:
            contexts[key] = chromium.new_context(viewport={"width": width, "height": 1000}, offline=offline)
        found = Visit(contexts[key].new_page())
        pages.append(found.page)
        found.page.set_default_timeout(240_000)
        found.page.on("console", lambda m: found.errors.append(m.text) if m.type == "error" else None)
        found.page.on("pageerror", lambda error: found.errors.append(str(error)))
        found.page.on("request", lambda request: found.requests.append(request.url))

        def dismiss(dialog: Any) -> None:
            found.dialogs.append(dialog.message)
            dialog.dismiss()

        found.page.on("dialog", dismiss)
        found.page.goto(url)
        return found

    yield open_page
    for page in pages:
        page.close()
