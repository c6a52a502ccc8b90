"""Promises of retrying: what may pass is waited for, what cannot pass is raised at once."""

import sqlite3

import pytest
import sqlalchemy.exc
from optuna.exceptions import StorageInternalError

from storage import retry
from storage.errors import DatabaseFull, DatabaseUnavailable
from storage.retry import is_transient, translate, with_retry


def _error(text: str) -> StorageInternalError:
    """An SQLAlchemy error as Optuna wraps it."""
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = sqlalchemy.exc.OperationalError("SELECT secret", {}, sqlite3.OperationalError(text))
    return error


def test_an_outage_is_waited_for() -> None:
    """The call is repeated until it succeeds within the budget."""
    failures = [3]

    def call() -> str:
        if failures[0]:
            failures[0] -= 1
            raise _error("database is locked")
        return "done"

    assert with_retry(call, 10.0) == "done"


class Clock:
    """A clock that goes on by what is slept."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, list[float]()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the budget the error names the cause without the statement."""
    clock = Clock()
    monkeypatch.setattr(retry, "time", clock)

    def call() -> None:
        raise _error("connection refused")

    with pytest.raises(DatabaseUnavailable, match="connection refused") as caught:
        with_retry(call, 5.0)
    assert clock.now == pytest.approx(5.0) and len(clock.slept) > 3
    assert "secret" not in str(caught.value)


def test_a_connection_that_the_server_ended_is_replaced() -> None:
    """The server says so in words before the driver finds the line closed: another try may succeed, and if there is
    none left, it is an outage."""
    text = "terminating connection due to idle-in-transaction timeout"
    error = sqlalchemy.exc.InternalError("SELECT secret", {}, Exception(text))
    assert is_transient(error)
    assert isinstance(translate(error), DatabaseUnavailable)


REFUSES = "refuses this URL: .*; correct its user, password"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("password authentication failed for user x", REFUSES),
        ('FATAL:  role "x" does not exist', REFUSES),
        ('invalid sslmode value: "bogus"', REFUSES),
        ("no such table: trials", "the database cannot be used: no such table"),
        ("file is not a database", "the database cannot be used"),
    ],
)
def test_what_waiting_cannot_help_is_raised_at_once(text: str, told: str) -> None:
    """A wrong password or a missing table is not tried again, nor called an outage."""
    calls = []

    def call() -> None:
        calls.append(1)
        raise _error(text)

    with pytest.raises(DatabaseUnavailable, match=told):
        with_retry(call, 30.0)
    assert len(calls) == 1


def test_only_the_databases_own_words_count() -> None:
    """What is stored may hold any words: those of a failed trial's reason say nothing about the database."""
    reason = {"value": "FileNotFoundError: /data/train.parquet does not exist; no space left"}
    locked = sqlalchemy.exc.OperationalError("INSERT", reason, sqlite3.OperationalError("database is locked"))
    assert is_transient(locked)
    assert type(translate(locked)) is DatabaseUnavailable and "does not answer" in str(translate(locked))


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("database or disk is full", "free space"),
        ("attempt to write a readonly database", "name one that can be, with --storage"),
        ("cannot execute INSERT in a read-only transaction", "name one that can be, with --storage"),
    ],
)
def test_a_full_disk_is_raised_at_once(text: str, remedy: str) -> None:
    """No retry can make room, or a standby take what is written to it; each has its own remedy."""

    def call() -> None:
        raise _error(text)

    with pytest.raises(DatabaseFull, match=remedy):
        with_retry(call, 30.0)


def test_a_bug_keeps_its_traceback() -> None:
    """What is not the database's fault passes through."""

    def call() -> None:
        raise StorageInternalError("x") from sqlalchemy.exc.IntegrityError("INSERT", {}, sqlite3.IntegrityError("u"))

    with pytest.raises(StorageInternalError):
        with_retry(call, 30.0)


def test_an_unresolved_name_is_wrong_before_the_first_connection_and_away_after_it() -> None:
    """A host name that has been resolved before may fail for a while; one that never was is refused at once."""
    failures = [2]

    def call() -> str:
        if failures[0]:
            failures[0] -= 1
            raise _error("failed to resolve host 'db.example': [Errno -2] Name or service not known")
        return "done"

    with pytest.raises(DatabaseUnavailable, match="failed to resolve"):
        with_retry(call, 30.0, connected=False)
    assert with_retry(call, 10.0) == "done"
