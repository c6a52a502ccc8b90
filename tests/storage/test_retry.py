"""Promises of patience: what passes is waited for, what does not is told, and an unheard answer does no harm."""

import sqlite3
import time
from pathlib import Path

import optuna
import pytest
import sqlalchemy.exc
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from storage.backends.database import database_backend, open_storage
from storage.claims import Claim
from storage.errors import DatabaseFull, DatabaseUnavailable
from storage.retry import with_retry
from storage.worker.background import BackgroundStorage


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


def test_patience_ends() -> None:
    """After the budget the error names the cause without the statement."""
    started = time.monotonic()

    def call() -> None:
        raise _error("connection refused")

    with pytest.raises(DatabaseUnavailable, match="connection refused") as caught:
        with_retry(call, 0.5)
    assert 0.4 < time.monotonic() - started < 2.0
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["password authentication failed for user x", "no such table: trials"])
def test_what_no_waiting_heals_is_told_at_once(text: str) -> None:
    """A wrong password or a missing table is not tried again."""
    calls = []

    def call() -> None:
        calls.append(1)
        raise _error(text)

    with pytest.raises(DatabaseUnavailable):
        with_retry(call, 30.0)
    assert len(calls) == 1


def test_a_full_disk_is_told_at_once() -> None:
    """No retry can make room."""

    def call() -> None:
        raise _error("database or disk is full")

    with pytest.raises(DatabaseFull, match="free space"):
        with_retry(call, 30.0)


def test_a_bug_keeps_its_traceback() -> None:
    """What is not the database's fault passes through."""

    def call() -> None:
        raise StorageInternalError("x") from sqlalchemy.exc.IntegrityError("INSERT", {}, sqlite3.IntegrityError("u"))

    with pytest.raises(StorageInternalError):
        with_retry(call, 30.0)


def _answer_is_lost(monkeypatch: pytest.MonkeyPatch, storage: object, method: str) -> None:
    """The next call of a session's `method` is committed, and its answer is lost on the way."""
    backend = database_backend(storage)  # type: ignore[arg-type]
    assert backend is not None
    session_class, lost = backend.scoped_session.session_factory.class_, []
    commit = session_class.commit

    def unheard(self):  # type: ignore[no-untyped-def]
        commit(self)
        if not lost:
            lost.append(1)
            raise sqlalchemy.exc.OperationalError("COMMIT", {}, sqlite3.OperationalError("connection lost"))

    monkeypatch.setattr(session_class, method, unheard)


def test_an_ask_whose_answer_was_lost_makes_one_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial that was created is found again by its claim: no orphan, no second one."""
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(study_name="s", storage=storage)
    own = BackgroundStorage(storage, study._study_id, Claim("host:1"))
    mine = optuna.Study("s", own)
    _answer_is_lost(monkeypatch, storage, "commit")
    trial = mine.ask()
    monkeypatch.undo()
    mine.tell(trial, 1.0)
    assert [(t.number, t.state) for t in study.trials] == [(0, TrialState.COMPLETE)]


def test_a_tell_whose_answer_was_lost_is_a_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeating Optuna's own tell is a success when state and value are those that were told."""
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(study_name="s", storage=storage)
    trial = study.ask()
    _answer_is_lost(monkeypatch, storage, "commit")
    assert storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [1.0])
    monkeypatch.undo()
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [2.0])
    assert study.best_value == 1.0
