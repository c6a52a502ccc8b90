"""Workers that are killed, stopped or sent signals: finished work stays, unfinished work is picked up."""

import datetime
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.study.open import open_study
from storage.store import artifacts_of
from tests.machines import (
    Worker,
    assert_sound,
    create,
    outcome_of,
    small_study,
    trials,
    wait_stored,
    wait_until,
    weights_of,
)
from tests.pace import each, stand_still, stand_still_until_stopped
from tests.search.work.faults import main_done


def test_two_undisturbed_studies_are_equal(undisturbed, small_data: Path, sqlite_url: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """One worker on a CPU gives the same trials, values and weights, bit for bit, every time."""
    create(sqlite_url, small_study(trials=2, epochs=4))
    assert Worker(sqlite_url, "small", small_data, tmp_path).join() == 0
    assert (outcome_of(sqlite_url), list(weights_of(sqlite_url))) == undisturbed


def test_killed_in_the_middle_of_an_epoch(undisturbed, small_data: Path, sqlite_url: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """kill -9 within an epoch: a peer goes on from the last stored epoch, and the study ends as if nothing had
    happened, bit for bit."""
    create(sqlite_url, small_study(trials=2, epochs=4))
    victim = Worker(sqlite_url, "small", small_data, tmp_path, hook=partial(stand_still, 2))
    wait_stored(sqlite_url, epochs=2)
    victim.kill()
    assert [trial.state for trial in trials(sqlite_url)] == [TrialState.RUNNING]
    peer = Worker(sqlite_url, "small", small_data, tmp_path)
    resumed = peer.wait_for(lambda event: event.kind == "resume")
    assert peer.join() == 0
    assert (resumed.trial, resumed.epoch) == (0, 2)
    assert any(event.kind == "recovered" and event.trial == 0 for event in peer.events)
    assert_sound(sqlite_url)
    assert (outcome_of(sqlite_url), list(weights_of(sqlite_url))) == undisturbed
    assert trials(sqlite_url)[0].user_attrs["attempt"] == 2


def _die_while_uploading() -> None:
    """kill -9 itself inside the transaction that stores the weights of a finished run."""
    from sqlalchemy import event

    from search.work import rescue

    upload_all = rescue.upload_all

    def armed(store, items, trial_id):  # type: ignore[no-untyped-def]
        event.listen(store.engine, "after_cursor_execute", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        return upload_all(store, items, trial_id)

    rescue.upload_all = armed


def _die_after_uploading() -> None:
    """kill -9 itself after the bytes are stored and before the outcome is."""
    from search.work import trial

    store_files = trial.store_files

    def armed(store, files, trial_id):  # type: ignore[no-untyped-def]
        store_files(store, files, trial_id)
        os.kill(os.getpid(), signal.SIGKILL)

    trial.store_files = armed


@pytest.mark.parametrize("hook", [pytest.param(_die_while_uploading, marks=pytest.mark.soak), _die_after_uploading])
def test_killed_around_the_upload(hook, undisturbed, small_data: Path, sqlite_url: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A worker that dies while it stores a finished run leaves no half-written checkpoint, and the run is finished by
    another with the same result; bytes that nothing refers to are swept up."""
    create(sqlite_url, small_study(trials=2, epochs=4))
    victim = Worker(sqlite_url, "small", small_data, tmp_path, hook=hook)
    assert victim.join() == -signal.SIGKILL
    assert [trial.state for trial in trials(sqlite_url)] == [TrialState.RUNNING]
    assert Worker(sqlite_url, "small", small_data, tmp_path).join() == 0
    assert_sound(sqlite_url)
    assert (outcome_of(sqlite_url), list(weights_of(sqlite_url))) == undisturbed
    orphans = 2 if hook is _die_after_uploading else 0
    time.sleep(1.1)
    main_done(["gc", "--storage", sqlite_url, "--older-than", "1s"])
    store = artifacts_of(open_study(sqlite_url, "small"))
    assert len(list(store.entries())) == 2 * 2, f"{orphans} orphans should be gone, and nothing else"
    assert_sound(sqlite_url)


def _die_at_once() -> None:
    """kill -9 itself whenever it begins to train trial 0."""
    from search.work.trial import TrialInProgress

    train = TrialInProgress._train

    def armed(self, task):  # type: ignore[no-untyped-def]
        if self.number == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return train(self, task)

    TrialInProgress._train = armed  # type: ignore[method-assign]


def test_a_trial_that_kills_its_workers_is_given_up(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """After `max_retries` further attempts the trial fails with its reason, and the study goes on."""
    create(sqlite_url, small_study(trials=2, epochs=2, max_retries=1))
    for _ in range(2):
        victim = Worker(sqlite_url, "small", small_data, tmp_path, hook=_die_at_once, grace=1.0)
        assert victim.join() == -signal.SIGKILL
    assert Worker(sqlite_url, "small", small_data, tmp_path, grace=1.0).join() == 0
    first, second = trials(sqlite_url)
    assert first.state == TrialState.FAIL
    assert first.user_attrs["reason"].startswith("given up: 2 workers vanished")
    assert second.state == TrialState.COMPLETE
    assert_sound(sqlite_url)


def test_a_signal_hands_the_trial_back(undisturbed, small_data: Path, sqlite_url: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """SIGTERM ends the epoch, stores it, queues the trial and exits 0 without waiting for any grace; the next worker
    goes on, to the same result, and no attempt is counted."""
    create(sqlite_url, small_study(trials=2, epochs=4))
    reached = tmp_path / "reached"
    options = {"hook": partial(stand_still_until_stopped, 1, reached), "grace": 600.0, "checkpoint_every": 600.0}
    leaving = Worker(sqlite_url, "small", small_data, tmp_path, **options)
    wait_until(reached.exists, "the middle of the second epoch")
    leaving.terminate()
    assert leaving.join() == 0
    (trial,) = trials(sqlite_url)
    assert (trial.state, len(trial.intermediate_values)) == (TrialState.WAITING, 2)
    peer = Worker(sqlite_url, "small", small_data, tmp_path, grace=600.0)
    assert peer.wait_for(lambda event: event.kind == "resume").epoch == len(trial.intermediate_values)
    assert peer.join() == 0
    assert_sound(sqlite_url)
    assert (outcome_of(sqlite_url), list(weights_of(sqlite_url))) == undisturbed
    assert trials(sqlite_url)[0].user_attrs["attempt"] == 1


def test_a_second_signal_ends_at_once(undisturbed, small_data: Path, sqlite_url: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Two SIGTERMs end the process within the epoch, which would last for ever; the epochs before it are stored and
    taken up."""
    create(sqlite_url, small_study(trials=2, epochs=4))
    options = {"hook": partial(stand_still, 1), "checkpoint_every": 600.0}
    leaving = Worker(sqlite_url, "small", small_data, tmp_path, **options)
    leaving.wait_epoch(0, trial=0)
    leaving.terminate()
    wait_stored(sqlite_url, epochs=1)
    leaving.terminate()
    assert leaving.join() == 128 + signal.SIGTERM
    peer = Worker(sqlite_url, "small", small_data, tmp_path)
    assert peer.wait_for(lambda event: event.kind == "resume").epoch == 1
    assert peer.join() == 0
    assert (outcome_of(sqlite_url), list(weights_of(sqlite_url))) == undisturbed


def _an_hour_passes() -> None:
    """The worker's hour is over but for the margin, once it has ended an epoch."""
    from search.work.stopping import MARGIN, Stop

    due = Stop.due

    def late(stop: Stop, next_epoch: float = 0.0) -> bool:
        if next_epoch > 0.0:
            stop.deadline = time.monotonic() + MARGIN
        return due(stop, next_epoch)

    Stop.due = late  # type: ignore[method-assign]


def test_a_time_limit_hands_the_trial_back(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """A worker leaves before its time limit, trial queued, exit 0."""
    create(sqlite_url, small_study(trials=1, epochs=5000))
    worker = Worker(sqlite_url, "small", small_data, tmp_path, hook=_an_hour_passes, time_limit=3600.0)
    assert worker.join() == 0
    assert worker.events[-1].text == "time limit"
    assert trials(sqlite_url)[0].state == TrialState.WAITING


def _an_hour_ahead() -> None:
    """A machine whose clock is wrong by an hour."""
    real_time, real = time.time, datetime.datetime

    class Ahead(real):  # type: ignore[misc,valid-type]
        @classmethod
        def now(cls, tz=None):  # type: ignore[no-untyped-def]
            return real.now(tz) + datetime.timedelta(hours=1)

    time.time = lambda: real_time() + 3600.0
    datetime.datetime = Ahead  # type: ignore[misc]
    import optuna.storages._rdb.storage as rdb

    import storage.backends.sql_fleet
    import storage.worker.background

    rdb.datetime = storage.worker.background.datetime = storage.backends.sql_fleet.datetime = Ahead  # type: ignore[misc,assignment]


def test_clocks_an_hour_apart(small_data: Path, postgres_url: str, tmp_path: Path) -> None:
    """Workers whose clocks differ by an hour leave each other's trials alone, and still notice a dead one."""
    create(postgres_url, small_study(trials=4, epochs=4))
    behind = Worker(postgres_url, "small", small_data, tmp_path, hook=partial(stand_still, 2), grace=5.0)
    wait_stored(postgres_url, epochs=1)
    gate = tmp_path / "gate"
    hook = partial(each, _an_hour_ahead, partial(stand_still, 2, gate))
    ahead = Worker(postgres_url, "small", small_data, tmp_path, hook=hook, grace=5.0)
    ahead.wait_epoch(1)
    behind.kill()
    gate.touch()
    assert ahead.join() == 0
    assert [event.trial for event in ahead.events if event.kind == "recovered"] == [0]
    assert_sound(postgres_url)
    attempts = sorted(trial.user_attrs["attempt"] for trial in trials(postgres_url))
    assert attempts == [1, 1, 1, 2]
