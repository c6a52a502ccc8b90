"""A study at one moment: who is at work, who has fallen silent, and when it is over."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa

from search.study.create import create_study
from search.study.status import Status, status_of
from search.studyfile.spec import StudySpec
from storage.claims import Claim
from storage.store import store_of
from storage.tables import claims

DOCUMENT: dict[str, Any] = {
    "name": "s",
    "parameters": {"lr": {"float": [1e-4, 1e-2], "log": True}, "epochs": 20},
    "baselines": [{"lr": 1e-3}, {"lr": 2e-3}],
    "budget": {"trials": 3, "hours": 1, "until": "2040-01-01T00:00:00Z"},
}


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return create_study(StudySpec.from_json(DOCUMENT), f"sqlite:///{tmp_path / 'study.db'}")


def claim(study: optuna.Study, worker: str) -> int:
    """Take the first queued trial as a worker does; its id."""
    trial_id: int = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))[0]._trial_id
    assert store_of(study).fleet.claim(trial_id, Claim(worker))
    study._storage.set_trial_user_attr(trial_id, "worker", worker)
    study._storage.set_trial_intermediate_value(trial_id, 0, 0.21)
    study._storage.set_trial_intermediate_value(trial_id, 1, 0.2)
    return trial_id


def test_a_worker_that_beats_is_alive_and_one_that_does_not_is_silent(study: optuna.Study) -> None:
    """By the database's clock, not by anybody's state."""
    claim(study, "a:1")
    lost = claim(study, "b:2")
    engine = store_of(study).engine
    assert engine is not None
    with engine.begin() as connection:
        connection.execute(sa.update(claims).where(claims.c.trial_id == lost).values(beat=claims.c.beat - 100))
    workers = status_of(study).workers
    assert [(w.worker, w.silent, w.epoch, w.score) for w in workers] == [
        ("a:1", False, 1, 0.21),
        ("b:2", True, 1, 0.21),
    ]


def test_nobody_is_known_to_run_a_trial_without_a_claim(study: optuna.Study) -> None:
    """As the dashboard copies it when a study is renamed: with its worker's name, and without the worker."""
    claim(study, "a:1")
    trial = study.ask()
    study._storage.set_trial_user_attr(trial._trial_id, "worker", "b:2")
    assert [(w.worker, w.silent) for w in status_of(study).workers] == [("a:1", False), ("b:2", None)]


def test_a_journal_does_not_pretend_to_know(tmp_path: Path) -> None:
    """Without a shared clock one look says nothing about beats."""
    study = create_study(StudySpec.from_json(DOCUMENT), f"journal://{tmp_path / 'study.log'}")
    claim(study, "a:1")
    assert [worker.silent for worker in status_of(study).workers] == [None]


def test_a_study_is_over_when_nothing_more_will_happen(study: optuna.Study) -> None:
    """Its budget is spent, and nothing runs or waits, replicates included."""

    def look() -> Status:
        return status_of(study)

    assert not look().over and look().budget.trials == 0
    for _ in range(3):
        study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    now = look()
    assert now.over and now.budget.trials == 3 and now.budget.spent == "3 of 3 trials are done or running"
    assert [reason for *_, reason in now.failures] == ["unknown"] * 3 and now.best is None
    study.enqueue_trial({"lr": 5e-3})
    assert not look().over


def test_the_budget_is_plain_json(study: optuna.Study) -> None:
    """Used, limit and left of each kind; a moment with its time zone."""
    import json

    document = json.loads(json.dumps(status_of(study).to_json(), allow_nan=False))
    assert document["budget"] == {
        "trials": {"used": 0, "limit": 3, "left": 3},
        "hours": {"used": 0.0, "limit": 1.0, "left": 1.0},
        "until": "2040-01-01T00:00:00+00:00",
        "spent": None,
    }
