"""The start page as served: what it shows, that nothing in it is HTML, and a database that is away."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from storage.backends.registry import open_storage
from storage.dashboard.server import Ours, Settings, listening
from storage.dashboard.start import PERIOD, SCRIPT, Entry, Listing, render
from storage.errors import DashboardError

EVIL = "<script>alert(1)</script>\"'&"


def ask(url: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, content type and body."""
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=120)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers["Content-Type"], answer.read().decode()


@pytest.fixture
def answers(tmp_path: Path) -> Callable[..., list[tuple[int, str, str]]]:
    """`answers(read, path or (method, path), ...)`: what a dashboard with this start page answers."""
    storage = open_storage(f"sqlite:///{tmp_path}/studies.db")

    def collect(read: Callable[[], Listing], *asked: tuple[str, str]) -> list[tuple[int, str, str]]:
        with listening(storage.store, Settings(port=0), Ours(read, lambda study: None, storage.delete_study)) as server:
            threading.Thread(target=server.run, daemon=True).start()
            return [ask(server.url + path, method) for method, path in asked]

    return collect


def test_everything_is_text() -> None:
    """Markup in a name, question, row, line, command or problem is shown, not read."""
    entry = Entry(1, EVIL, EVIL, [[EVIL] * 4], [(EVIL, EVIL)], EVIL, 2, EVIL)
    page = render(Listing([entry], EVIL, EVIL), False, EVIL)
    assert page.count("<script") == 1 and "alert(1)</script>" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;") == 13


def test_the_page_and_its_script(answers: Callable[..., list[tuple[int, str, str]]]) -> None:
    """`/` is the page, read anew at every request; `/start.js` its script; the application answers the rest."""
    names = iter(("first", "second", "third"))
    page, head, again, script, other, writing = answers(
        lambda: Listing([Entry(7, next(names))], "now"),
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/"),
        ("GET", "/start.js"),
        ("GET", "/dashboard"),
        ("DELETE", "/"),
    )
    assert page[:2] == (200, "text/html; charset=utf-8")
    assert '<a href="/dashboard/studies/7">first</a>' in page[2]
    assert head == (200, "text/html; charset=utf-8", "") and "third" in again[2]
    assert script == (200, "text/javascript; charset=utf-8", SCRIPT) and f"{PERIOD} * 1000" in SCRIPT
    assert other[0] == 200 and "bundle.js" in other[2]
    assert writing[0] == 403 and "lobtuna delete NAME" in writing[2]


def test_a_database_that_is_away(answers: Callable[..., list[tuple[int, str, str]]]) -> None:
    """The page then has that one line, status 503, and still its script, which asks again."""

    def read() -> NoReturn:
        raise DashboardError("The database cannot be read: connection refused")

    ((status, _, text),) = answers(read, ("GET", "/"))
    assert status == 503 and text.count("The database cannot be read: connection refused") == 1
    assert "<article" not in text and "There is no study yet" not in text and "/start.js" in text


def test_who_may_change_what_is_said() -> None:
    """Read-only, the page says what fails and which commands do it; writable, that deleting is for good."""
    assert "lobtuna delete NAME" in render(Listing((), "now"), writable=False)
    assert "lobtuna delete NAME" not in render(Listing((), "now"), writable=True)
    assert "lobtuna create STUDY.yaml" in render(Listing((), "now"), writable=True)
