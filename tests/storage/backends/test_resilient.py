"""Promises of the retried database storage: a call whose answer was lost may be repeated without harm."""

import contextlib
import sqlite3
import threading
import time
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


def test_a_deletion_whose_answer_was_lost_is_a_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The repeat finds no study any more; one that was never there is an error."""
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(study_name="s", storage=storage)
    study.ask()
    _answer_is_lost(monkeypatch, storage, "commit")
    storage.delete_study(study._study_id)
    monkeypatch.undo()
    assert storage.get_all_studies() == []
    with pytest.raises(KeyError):
        storage.delete_study(study._study_id)


def test_a_study_is_deleted_beside_its_workers(postgres_url: str) -> None:
    """Others write into its running trials and begin new ones all the while; nothing of it is left, and a study beside
    it is whole."""
    storage = open_storage(postgres_url)
    beside = optuna.create_study(study_name="beside", storage=storage)
    beside.tell(beside.ask({"x": optuna.distributions.FloatDistribution(0.0, 1.0)}), 1.0)
    study = optuna.create_study(study_name="s", storage=storage)
    for _ in range(150):
        study.add_trial(optuna.trial.create_trial(value=1.0, intermediate_values=dict.fromkeys(range(10), 0.5)))
    deleted, ready = threading.Event(), threading.Barrier(4)

    def work() -> None:
        own = optuna.load_study(study_name="s", storage=open_storage(postgres_url))
        trial, step = own.ask(), 0
        ready.wait()
        with contextlib.suppress(KeyError, optuna.exceptions.StorageInternalError, sqlalchemy.exc.IntegrityError):
            while not deleted.is_set():
                trial.report(0.5, step := step + 1)
                if step % 10 == 0:
                    own.tell(trial, 1.0)
                    trial = own.ask()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    ready.wait()
    time.sleep(0.3)
    storage.delete_study(study._study_id)
    deleted.set()
    for worker in workers:
        worker.join()
    assert [found.study_name for found in storage.get_all_studies()] == ["beside"]
    assert len(open_storage(postgres_url).get_all_trials(beside._study_id)) == 1
    assert beside.best_params.keys() == {"x"}


def test_every_transaction_of_optuna_is_retried() -> None:
    """No method of Optuna's interface that asks the database is left without patience."""
    by_private_steps = {"create_new_trial", "set_trial_param", "get_all_trials"}  # which are retried themselves
    asking = BaseStorage.__abstractmethods__ | set(REPEATABLE)
    assert asking - by_private_steps <= set(vars(ResilientStorage))
