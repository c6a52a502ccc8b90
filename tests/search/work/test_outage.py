"""Promises of the wait for a database: growing pauses, one line at each end, a stop ends it."""

import pytest

from search.errors import SearchError
from search.work.outage import outlast
from search.work.stopping import Stop
from storage.errors import DatabaseReadOnly, DatabaseUnavailable


def test_the_call_is_repeated_until_it_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses grow; the user reads one line when the wait begins and one when it ends."""
    failures, pauses, notes = [3], [], []

    def call() -> str:
        if failures[0]:
            failures[0] -= 1
            raise DatabaseUnavailable("the database does not answer")
        return "done"

    stop = Stop()
    monkeypatch.setattr(stop, "sleep", pauses.append)
    assert outlast(call, stop, notes.append) == "done"
    assert pauses == [2.0, 4.0, 8.0]
    assert notes == ["the database does not answer; this worker waits until it is back", "the database is back"]


def test_a_stop_ends_the_wait() -> None:
    """The error of the last try is raised; nothing is tried again."""
    stop, calls = Stop(), []

    def call() -> None:
        calls.append(1)
        stop.ask("test")
        raise DatabaseUnavailable("away")

    with pytest.raises(DatabaseUnavailable):
        outlast(call, stop, lambda _: None)
    assert calls == [1]


def test_the_wrong_database_is_no_outage() -> None:
    """One that may not be written ends the wait at once where nothing was written so far, and is waited for where this
    process has written it: a server that is a standby for a moment."""
    refused, notes = [DatabaseReadOnly("cannot be written: read-only"), DatabaseReadOnly("again")], list[str]()

    def call() -> str:
        if refused:
            raise refused.pop(0)
        return "done"

    with pytest.raises(SearchError, match="cannot be written"):
        outlast(call, Stop(), notes.append, wrote=lambda: False)
    assert notes == [] and outlast(call, Immediately(), notes.append, wrote=lambda: True) == "done"
    assert notes == ["again; this worker waits until it is back", "the database is back"]


class Immediately(Stop):
    """Waits without waiting."""

    def sleep(self, seconds: float) -> None:
        pass
