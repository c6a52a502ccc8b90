"""What is added to optuna-dashboard's pages, and what passes as it is."""

from collections.abc import Iterable
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from storage.dashboard.adapted import CHANGING, AdaptedDashboard

PAGE = b"<html><head><title>x</title></head><body><div id='root'></div></body></html>"


def inner(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """A page with a date, as a file has one; 304 for a browser that already has it."""
    if "HTTP_IF_MODIFIED_SINCE" in environ:
        start_response("304 Not Modified", [])
        return []
    if environ["REQUEST_METHOD"] == "DELETE":
        start_response("204 No Content" if environ["PATH_INFO"].endswith("/1") else "404 Not Found", [])
        return [b'{"reason": "no study"}']
    start_response("200 OK", [("Content-Length", str(len(PAGE))), ("Last-Modified", "yesterday"), ("X-Own", "1")])
    return [PAGE]


def ask(path: str, writable: bool = False, **environ: str) -> tuple[str, dict[str, str], bytes]:
    """Status, headers and body."""
    given: dict[str, Any] = {"PATH_INFO": path, **environ}
    setup_testing_defaults(given)
    found: list[tuple[str, dict[str, str]]] = []
    body = b"".join(
        AdaptedDashboard(inner, writable)(given, lambda status, headers, _=None: found.append((status, dict(headers))))
    )
    return *found[0], body


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/studies/1"])
def test_a_page_carries_our_links(path: str) -> None:
    """Read-only, a page has the stylesheet that hides what changes and says why; writable, only the way back."""
    status, headers, page = ask(path)
    assert status == "200 OK" and int(headers["Content-Length"]) == len(page) and headers["X-Own"] == "1"
    assert CHANGING.encode() in page and b'href="/"' in page and b'href="/#access"' in page
    _, _, writable = ask(path, writable=True)
    assert CHANGING.encode() not in writable and b'href="/"' in writable and b"read-only" not in writable


def test_a_page_is_never_the_one_a_browser_has_kept() -> None:
    """It may be of another version of ours, or of the other mode: it is sent anew and not to be stored."""
    status, headers, page = ask("/dashboard", HTTP_IF_MODIFIED_SINCE="yesterday")
    assert status == "200 OK" and headers["Cache-Control"] == "no-store" and "Last-Modified" not in headers
    assert CHANGING.encode() in page


@pytest.mark.parametrize(("path", "method"), [("/api/studies", "GET"), ("/dashboards", "GET"), ("/dashboard", "POST")])
def test_everything_else_passes(path: str, method: str) -> None:
    """Data, scripts and what is no page come as they are."""
    assert ask(path, REQUEST_METHOD=method)[2] == PAGE


def test_a_change_that_succeeded_is_answered_with_a_document() -> None:
    """optuna-dashboard's script takes an empty answer for a failure; a reason that was given stays."""
    assert ask("/api/studies/1", REQUEST_METHOD="DELETE")[::2] == ("200 OK", b"{}")
    assert ask("/api/studies/2", REQUEST_METHOD="DELETE")[::2] == ("404 Not Found", b'{"reason": "no study"}')
