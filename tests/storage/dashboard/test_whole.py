"""A study is deleted with all that belongs to it, or the page says why not; renaming is refused; all else passes."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from search.report.start import dashboard_of
from search.study.open import study_names
from search.study.replication import open_replicates
from storage.backends.registry import open_storage
from storage.dashboard.guard import Rules
from storage.dashboard.server import build
from storage.dashboard.whole import RENAMING, WholeStudies
from storage.errors import DatabaseUnavailable
from tests.machines import create, small_study


def passed(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The application behind."""
    start_response("200 OK", [])
    return [b"passed"]


def asked(application: Any, method: str, path: str) -> tuple[str, bytes]:
    """Status and body."""
    given: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": method}
    setup_testing_defaults(given)
    found: list[str] = []
    body = b"".join(application(given, lambda status, headers, _=None: found.append(status)))
    return found[0], body


def fails(error: Exception) -> Callable[[int], None]:
    def delete(_: int) -> None:
        raise error

    return delete


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (KeyError(7), "404 Not Found", "there is no study 7"),
        (DatabaseUnavailable("the database is away"), "500 Internal Server Error", "the database is away"),
    ],
)
def test_why_a_study_was_not_deleted(error: Exception, status: str, reason: str) -> None:
    """In the form that optuna-dashboard's script shows."""
    found = asked(WholeStudies(passed, fails(error)), "DELETE", "/api/studies/7")
    assert (found[0], json.loads(found[1])) == (status, {"reason": reason})


def test_what_is_refused_and_what_passes() -> None:
    """Renaming is refused; reading, and changes of other things, are the application's."""
    whole = WholeStudies(passed, fails(AssertionError()))
    status, body = asked(whole, "POST", "/api/studies/7/rename")
    assert status == "403 Forbidden" and json.loads(body) == {"reason": RENAMING}
    for method, path in (("GET", "/api/studies/7"), ("PUT", "/api/studies/7/note"), ("DELETE", "/api/artifacts/7/1/a")):
        assert asked(whole, method, path) == ("200 OK", b"passed")


def test_a_study_goes_with_its_replicates(tmp_path: Path) -> None:
    """Through the whole dashboard: its study of replicates goes as well, another study stays."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    storage = open_storage(url)
    open_replicates(create(url, small_study()))
    create(url, small_study("other"))
    dashboard = build(storage.store, Rules(True, None, None), dashboard_of(storage))
    small = storage.get_study_id_from_name("small")
    assert asked(dashboard, "DELETE", f"/api/studies/{small}") == ("200 OK", b"{}")
    assert study_names(storage) == ["other"]
    assert asked(dashboard, "DELETE", f"/api/studies/{small}")[0] == "404 Not Found"
