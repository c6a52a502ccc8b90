"""The documentation's site: it builds without a warning, no link leads nowhere, and it can be read."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser.conftest import NARROW, WIDE, Visit
from tests.docs.make_site import MENU, build
from tests.docs.pages import PAGES


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's folder. Any warning of Sphinx, such as a link to a heading that is not there, fails here."""
    folder = tmp_path_factory.mktemp("site") / "html"
    assert build(folder) == 0
    return folder


class Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def test_every_page_is_in_the_menu(site: Path) -> None:
    """A page of `docs/` that the menu does not name would be found by nobody."""
    named = {name for names in MENU.values() for name in names} | {"index"}
    assert {path.stem for path in site.glob("*.html")} - {"search", "genindex"} == named
    assert {name.lower().removesuffix(".md") for name in PAGES} - {"readme"} <= named


def test_no_link_leads_nowhere(site: Path) -> None:
    """Every file and anchor that a page names is there, pictures, scripts and raw HTML included."""
    pages = {path: Page(path) for path in site.glob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            if not target.exists() or (
                target in pages and parts.fragment and parts.fragment not in pages[target].anchors
            ):
                broken.append(f"{path.name}: {link}")
    assert broken == [] and len(pages) > 20


@pytest.mark.parametrize("width", [WIDE, 400])
def test_pages_can_be_read(visit: Callable[..., Visit], site: Path, width: int) -> None:
    """No page is wider than its window, none asks a network for anything, none has an error."""
    found = visit((site / "index.html").as_uri(), width)
    for path in sorted(site.glob("*.html")):
        found.page.goto(path.as_uri())
        assert found.overflow() <= 0, path.name
    assert found.errors == []
    assert [url for url in found.requests if not url.startswith(("file:", "data:"))] == []


def test_the_notebooks_figures_are_drawn(visit: Callable[..., Visit], site: Path) -> None:
    """Each figure that the notebook holds, with its axes; tables keep their heading row."""
    found = visit((site / "notebook.html").as_uri())
    figures = found.page.locator(".output.figure")
    assert figures.count() >= 3
    for figure in figures.all():
        figure.locator(".xtitle").first.wait_for()
    assert found.page.locator(".output thead th").first.is_visible()


def test_the_search_finds(visit: Callable[..., Visit], site: Path) -> None:
    """Without a server: from the files alone."""
    found = visit(f"{(site / 'search.html').as_uri()}?q=heartbeat")
    found.page.locator("#search-results a").first.wait_for()
    assert found.errors == []


@pytest.mark.parametrize("width", [1280, NARROW])
def test_axe_finds_nothing_serious(visit: Callable[..., Visit], site: Path, width: int) -> None:
    """Start page, commands, a page of tables and the notebook fail no rule of axe-core that is serious or critical."""
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    found = visit((site / "index.html").as_uri(), width)
    serious = []
    for name in ("index", "commands", "study-file", "notebook"):
        found.page.goto((site / f"{name}.html").as_uri())
        found.page.evaluate(axe)
        result = found.page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
        serious += [
            f"{name}: {v['id']}: {v['nodes'][0]['html'][:200]}"
            for v in result
            if v["impact"] in ("serious", "critical")
        ]
    assert serious == []
