"""Promises of the retried database storage: a call whose answer was lost may be repeated without harm."""

import sqlite3
from pathlib import Path

import optuna
import pytest
import sqlalchemy.exc
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from storage.backends.registry import open_storage
from storage.backends.resilient import REPEATABLE, ResilientStorage
from storage.claims import Claim
from storage.store import StoreStorage, store_of
from storage.worker.background import BackgroundStorage


def _answer_is_lost(monkeypatch: pytest.MonkeyPatch, storage: StoreStorage, method: str) -> None:
    """The next call of a session's `method` is committed, and its answer is lost on the way."""
    database = store_of(storage).fleet.storage  # type: ignore[attr-defined]
    session_class, lost = database.scoped_session.session_factory.class_, []
    commit = session_class.commit

    def commit_and_fail(self):  # type: ignore[no-untyped-def]
        commit(self)
        if not lost:
            lost.append(1)
            raise sqlalchemy.exc.OperationalError("COMMIT", {}, sqlite3.OperationalError("connection lost"))

    monkeypatch.setattr(session_class, method, commit_and_fail)


def test_an_ask_whose_answer_was_lost_makes_one_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial that was created is found again by its claim: no orphan, no second one."""
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(study_name="s", storage=storage)
    own = BackgroundStorage(storage.store, study._study_id, Claim("host:1"))
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


def test_every_transaction_of_optuna_is_retried() -> None:
    """No method of Optuna's interface that asks the database is left without patience."""
    by_private_steps = {"create_new_trial", "set_trial_param", "get_all_trials"}  # which are retried themselves
    asking = BaseStorage.__abstractmethods__ | set(REPEATABLE)
    assert asking - by_private_steps <= set(vars(ResilientStorage))
