"""What a worker knows of its study goes before the events of its trials, and nothing is read for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial

from search.study.create import create_study
from search.work import news
from search.work.events import Event
from search.work.lane import Lane
from search.work.news import StudyNews, latest
from search.work.session import StudySession
from storage.claims import Claim
from tests.search.study.made_trials import finish, spec


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    """A worker's only lane, with a trial taken, in a study of six ended ones."""
    study = create_study(spec(budget={"trials": 24}), f"sqlite:///{tmp_path / 'study.db'}")
    finish(study, 6)
    session = StudySession.open(study._storage, "joint", Claim("a:1"), patience=1.0)
    session.ask()
    return Lane(0, session)


def test_an_outlook_goes_before_the_first_event(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a start always, at an epoch every few seconds, with the trials of the budget and the best of them."""
    now = iter([10.0, 10.0, 11.0, 14.0, 14.0])
    monkeypatch.setattr(news.time, "monotonic", lambda: next(now))
    shown: list[Event] = []
    emit = StudyNews(shown.append)
    emit.lanes = [lane]
    for kind in ("start", "epoch", "epoch"):
        emit(Event(kind, "joint", 6))
    assert [event.kind for event in shown] == ["outlook", "start", "epoch", "outlook", "epoch"]
    first: dict[str, Any] = shown[0].outlook or {}
    assert (first["begun"], first["limit"], first["running"]) == (7, 24, 1) and first["best"] is not None
    assert Event.from_line(shown[0].to_line()) == shown[0]
    lane.session.storage.drop()


def test_nothing_is_said_of_what_was_not_read(tmp_path: Path) -> None:
    """A worker that begins with replicates has not read the search's trials: no outlook, not one of zero trials."""
    study = create_study(spec(), f"sqlite:///{tmp_path / 'study.db'}")
    shown: list[Event] = []
    emit = StudyNews(shown.append)
    emit.lanes = [Lane(0, StudySession.open(study._storage, "joint", Claim("a:1"), patience=1.0))]
    emit(Event("start", "joint.seeds", 0))
    assert [event.kind for event in shown] == ["start"]


def test_other_events_pass_alone() -> None:
    """Before there is a lane, and for what is not about a running trial."""
    shown: list[Event] = []
    emit = StudyNews(shown.append)
    emit(Event("start", "joint", 1))
    emit(Event("note", "joint", text="x"))
    assert [event.kind for event in shown] == ["start", "note"]


def test_each_lane_knows_its_own_trial_best() -> None:
    """Of two records of a trial the one that is further counts."""

    def trial(number: int, state: TrialState, reports: int = 0) -> Any:
        made = create_trial(
            state=state,
            value=0.1 if state == TrialState.COMPLETE else None,
            intermediate_values=dict.fromkeys(range(reports), 0.1),
        )
        made.number = number
        return made

    waiting, running = trial(0, TrialState.WAITING), trial(0, TrialState.RUNNING)
    further, ended = trial(1, TrialState.RUNNING, 3), trial(2, TrialState.COMPLETE)
    found = latest(
        [[waiting, trial(1, TrialState.RUNNING, 1), trial(2, TrialState.RUNNING, 9)], [running, further, ended]]
    )
    assert found == [running, further, ended]
