"""Promises of a worker's storage: its own trial is exact at once, other trials are fetched when asked for."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from storage.backends.registry import open_store
from storage.claims import Batch, Claim
from storage.errors import ClaimLost
from storage.store import Store
from tests.storage.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A study in an SQLite file and one worker."""
    return Bench(f"sqlite:///{tmp_path / 'study.db'}")


def own(bench: Bench) -> FrozenTrial:
    """The worker's trial as its study reads it."""
    return bench.mine.get_trials()[-1]


def test_the_own_trial_is_exact_at_once(bench: Bench) -> None:
    """What was written a moment ago is read back, whether or not it is in the database yet."""
    trial = bench.mine.ask()
    x = trial.suggest_float("x", 0, 1)
    trial.report(0.5, 0)
    trial.set_user_attr("a", 1)
    read = own(bench)
    assert (read.params, read.intermediate_values, read.user_attrs) == ({"x": x}, {0: 0.5}, {"a": 1})
    assert bench.storage.get_trial(trial._trial_id).params == {"x": x}
    bench.mine.tell(trial, 1.0)
    stored = bench.fresh()
    assert (stored.params, stored.intermediate_values, stored.user_attrs) == ({"x": x}, {0: 0.5}, {"a": 1})


def test_a_new_trial_begins_with_a_claim(bench: Bench) -> None:
    """No moment without an owner: the trial that `ask` made is the worker's and nobody else's to write."""
    trial = bench.mine.ask()
    with pytest.raises(ClaimLost):
        bench.store.fleet.write(trial._trial_id, Claim("host:2"), Batch(user_attrs={"a": 1}))
    assert bench.storage.own().number == trial.number
    bench.mine.tell(trial, 1.0)


def test_the_others_are_fetched_when_asked_for(bench: Bench) -> None:
    """While a trial runs the others stay as they were fetched; `refresh` fetches them and calls back."""
    trial = bench.mine.ask()
    other = bench.study.ask()
    bench.study.tell(other, 0.5)
    assert [t.number for t in bench.mine.get_trials()] == [trial.number]
    called: list[int] = []
    bench.storage.refresh(lambda: called.append(1))
    bench.storage.end(Batch(state=TrialState.COMPLETE, values=[1.0]))
    assert called == [1]
    bench.storage.forget()
    assert [t.number for t in bench.mine.get_trials()] == [trial.number, other.number]


def test_another_trial_is_not_written(bench: Bench) -> None:
    """Only the trial that runs here may be written, and only while one runs."""
    with pytest.raises(RuntimeError, match="no trial is running here"):
        bench.storage.put(Batch(user_attrs={"a": 1}))
    trial = bench.mine.ask()
    with pytest.raises(RuntimeError, match="is not the one that runs here"):
        bench.storage.set_trial_user_attr(trial._trial_id + 1, "a", 1)
    bench.mine.tell(trial, 1.0)


def test_reports_of_a_resumed_run_are_forgotten(bench: Bench) -> None:
    """Pruning must not see epochs that will be run again."""
    trial = bench.mine.ask()
    for epoch in range(4):
        trial.report(0.1, epoch)
    bench.storage.forget_reports(2)
    assert set(own(bench).intermediate_values) == {0, 1}
    bench.mine.tell(trial, 1.0)


def test_letting_go_writes_nothing(bench: Bench) -> None:
    """A dropped trial stays as it was in the database, running under its claim."""
    trial = bench.mine.ask()
    bench.storage.drop()
    stored = bench.fresh(trial.number)
    assert (stored.state, stored.user_attrs) == (TrialState.RUNNING, {})


def test_other_studies_are_passed_through(bench: Bench) -> None:
    """A second study is created, enqueued to and read through the same storage, without a claim."""
    other = optuna.create_study(study_name="other", storage=bench.storage)
    other.enqueue_trial({"x": 0.5})
    assert [t.state for t in other.get_trials()] == [TrialState.WAITING]
    assert len(optuna.load_study(study_name="other", storage=bench.inner).trials) == 1
    assert bench.storage.running is None


def test_it_belongs_to_the_store_that_was_opened(tmp_path: Path) -> None:
    """A worker's storage carries the store it was made from."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    bench = Bench(url)
    opened: Store = open_store(url)
    assert bench.storage.store is bench.store is not opened
