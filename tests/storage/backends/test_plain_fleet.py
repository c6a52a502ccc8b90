"""Promises of fleet operations without SQL: silence is measured by the observer's own stopwatch."""

import time
from pathlib import Path

from storage.backends.plain_fleet import PlainFleet
from storage.backends.registry import open_store
from storage.claims import Claim


def started(tmp_path: Path, grace: float) -> tuple[PlainFleet, PlainFleet, int, int, Claim]:
    """A worker's fleet and an observer's on one journal, and a trial that the worker has claimed."""
    url = f"journal://{tmp_path / 'study.log'}"
    worker, observer = (PlainFleet(open_store(url).storage) for _ in range(2))
    study_id = worker.storage.create_new_study([], "s")
    trial_id = worker.storage.create_new_trial(study_id)
    claim = Claim("host:1", grace)
    worker.seize(trial_id, claim)
    return worker, observer, study_id, trial_id, claim


def test_the_first_look_starts_the_stopwatch(tmp_path: Path) -> None:
    """A trial seen for the first time is not silent, however long it has been running."""
    _, observer, study_id, _, _ = started(tmp_path, grace=0.3)
    time.sleep(0.5)
    assert observer.recover(study_id, max_retries=3) == []
    time.sleep(0.5)
    assert [(found.number, found.losses) for found in observer.recover(study_id, max_retries=3)] == [(0, 1)]


def test_only_a_change_is_a_beat(tmp_path: Path) -> None:
    """A trial counts as heard once its count was seen to change after the observer began to look."""
    worker, observer, study_id, trial_id, claim = started(tmp_path, grace=60.0)
    since = observer.now()
    assert observer.unheard(study_id, since) == [0]
    assert worker.beat(trial_id, claim)
    assert observer.unheard(study_id, since) == []
