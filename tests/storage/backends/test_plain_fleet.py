"""Promises of fleet operations without SQL: silence is measured by the observer's own stopwatch."""

from pathlib import Path

import pytest

from storage import contact
from storage.backends import plain_fleet
from storage.backends.plain_fleet import PlainFleet
from storage.backends.registry import open_store
from storage.claims import NOBODY, Claim
from storage.fleet import Recovered
from tests.storage.test_contact import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The stopwatch of every observer."""
    clock = Clock()
    monkeypatch.setattr(contact, "time", clock)
    monkeypatch.setattr(plain_fleet, "time", clock)
    return clock


def looks(observer: PlainFleet, study_id: int, clock: Clock, seconds: float) -> list[Recovered]:
    """What the observer takes back in so many seconds, with a look every half of one."""
    found: list[Recovered] = []
    for _ in range(round(2 * seconds)):
        clock.now += 0.5
        found += observer.recover(study_id, max_retries=3)
    return found


def started(tmp_path: Path, grace: float) -> tuple[PlainFleet, PlainFleet, int, int, Claim]:
    """A worker's fleet and an observer's on one journal, and a trial that the worker has claimed."""
    url = f"journal://{tmp_path / 'study.log'}"
    worker, observer = (PlainFleet(open_store(url).storage) for _ in range(2))
    study_id = worker.storage.create_new_study([], "s")
    trial_id = worker.storage.create_new_trial(study_id)
    claim = Claim("host:1", grace)
    worker.seize(trial_id, claim)
    return worker, observer, study_id, trial_id, claim


def test_the_first_look_starts_the_stopwatch(tmp_path: Path, clock: Clock) -> None:
    """A trial seen for the first time is not silent, however long it has been running."""
    _, observer, study_id, _, _ = started(tmp_path, grace=3.0)
    clock.now += 50.0
    assert looks(observer, study_id, clock, 3.5) == []  # the first look, and the grace
    assert [(found.number, found.losses) for found in looks(observer, study_id, clock, 1.0)] == [(0, 1)]


def test_only_a_change_is_a_beat(tmp_path: Path) -> None:
    """A trial counts as heard once its count was seen to change after the observer began to look."""
    worker, observer, study_id, trial_id, claim = started(tmp_path, grace=60.0)
    since = observer.now()
    assert observer.unheard(study_id, since) == [0]
    assert worker.beat(trial_id, claim)
    assert observer.unheard(study_id, since) == []


def test_an_observer_that_slept_judges_nobody(tmp_path: Path, clock: Clock) -> None:
    """After a pause in which the file may have been out of reach for everybody, the worker may beat first."""
    worker, observer, study_id, trial_id, claim = started(tmp_path, grace=6.0)
    for _ in range(8):
        assert looks(observer, study_id, clock, 1.0) == []
        assert worker.beat(trial_id, claim)
    clock.now += 12.0
    assert observer.recover(study_id, max_retries=3) == []
    assert worker.beat(trial_id, claim)
    assert observer.recover(study_id, max_retries=3) == []


def test_a_running_trial_without_a_claim_is_taken_over(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's own `ask` is left alone while it reports, and queued again after the time for unclaimed trials."""
    _, observer, study_id, _, _ = started(tmp_path, grace=600.0)
    monkeypatch.setattr(plain_fleet, "UNCLAIMED_GRACE", 6.0)
    monkeypatch.setattr(plain_fleet, "DEFAULT_GRACE", 3.0)
    trial_id = observer.storage.create_new_trial(study_id)
    for step in range(10):
        observer.storage.set_trial_intermediate_value(trial_id, step, 0.5)
        assert looks(observer, study_id, clock, 4.0) == []
    assert looks(observer, study_id, clock, 1.5) == []
    found = looks(observer, study_id, clock, 3.0)
    assert [(trial.number, trial.worker, trial.given_up) for trial in found] == [(1, NOBODY, False)]
