"""A worker without work leaves once nothing is queued and the others have been heard, and not before."""

import threading

import pytest
from optuna.trial import TrialState

from search.work.leaving import all_heard, nothing_left
from search.work.session import StudySession
from search.work.stopping import Stop
from storage.backends.registry import open_storage
from storage.claims import Batch, Claim
from storage.store import Store, store_of
from storage.worker import background
from tests.machines import create, small_study


@pytest.fixture
def session(sqlite_url: str) -> StudySession:
    """A worker's session with a study of one trial."""
    create(sqlite_url, small_study(trials=1))
    return StudySession.open(open_storage(sqlite_url), "small", Claim("host:2"), patience=60.0)


def running_elsewhere(session: StudySession) -> tuple[Store, int, Claim]:
    """Another worker's store, its running trial and its claim."""
    store, claim = store_of(session.storage.inner), Claim("host:1")
    trial_id = store.storage.create_new_trial(session.storage.study_id)
    store.fleet.seize(trial_id, claim)
    return store, trial_id, claim


def test_what_was_queued_a_moment_ago_is_seen_before_leaving(
    session: StudySession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another lane queues a silent worker's trial just after the budget was found to be spent: this one stays."""
    monkeypatch.setattr(background, "FRESH", 600.0)  # the moment
    store, trial_id, claim = running_elsewhere(session)
    assert session.spent() and nothing_left([session])
    store.fleet.write(trial_id, claim, Batch(state=TrialState.WAITING))
    assert not nothing_left([session])


def test_a_new_beat_of_every_trial_elsewhere_is_waited_for(session: StudySession) -> None:
    """Without one the worker stays, until a stop is due or it has queued the trial again."""
    store, trial_id, claim = running_elsewhere(session)
    heard = threading.Timer(0.3, lambda: store.fleet.beat(trial_id, claim))
    heard.start()
    assert all_heard([session], 0.05, Stop(), lambda: 0)
    heard.join()
    assert not all_heard([session], 0.05, Stop(), lambda: 1)
    stop = Stop()
    stop.ask("SIGTERM")
    assert not all_heard([session], 0.05, stop, lambda: 0)
