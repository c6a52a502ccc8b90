"""Running workers follow what the study says: a stop on every machine, and changed terms."""

import time
from functools import partial
from pathlib import Path

import pytest
from optuna.trial import TrialState

from lobmodels.data import Dataset
from search.study.halt import StopRequest, request_stop
from search.study.open import open_study
from search.study.revise import revise
from search.work import worker as worker_module
from tests.machines import Worker, assert_sound, create, outcome_of, small_study, trials, wait_until
from tests.pace import stand_still


@pytest.mark.parametrize("now", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["stop", "now"])
def test_a_stop_reaches_every_worker_and_work_goes_on_after_it(
    now: bool,
    small_data: Path,
    sqlite_url: str,
    tmp_path: Path,
) -> None:
    """Every trial is handed back with its state, also by a worker that waits for work; the next worker resumes them."""
    create(sqlite_url, small_study(trials=2, epochs=5000))
    fleet = []
    for kind in ("epoch", "epoch", "wait"):  # one after another: three that begin at once may exceed the budget
        fleet.append(Worker(sqlite_url, "small", small_data, tmp_path, wait=True, grace=8.0))
        fleet[-1].wait_for(lambda event, kind=kind: event.kind == kind and event.epoch in (1, None))
    request_stop(open_study(sqlite_url, "small"), StopRequest("host", now))
    assert [worker.join() for worker in fleet] == [0, 0, 0], [worker.error for worker in fleet]
    assert {worker.events[-1].text for worker in fleet} == {f"lobtuna stop{' --now' if now else ''} on host"}
    assert [trial.state for trial in trials(sqlite_url)] == [TrialState.WAITING] * 2
    assert_sound(sqlite_url)
    again = Worker(sqlite_url, "small", small_data, tmp_path, trials=1)
    assert again.wait_for(lambda event: event.kind == "resume").epoch >= 2
    again.terminate()
    assert again.join() == 0


@pytest.mark.parametrize("asked", ["small", "small.seeds"])
def test_a_stop_is_read_while_replicates_run(small_data: Path, sqlite_url: str, tmp_path: Path, asked: str) -> None:
    """The study's brake holds for its replicates, by whichever of the two names it is asked."""
    create(sqlite_url, small_study(trials=1, epochs=1))
    seeds = create(sqlite_url, small_study("small.seeds", trials=1000, epochs=5000))
    seeds.enqueue_trial({"lr": 2e-3, "head": "linear"}, user_attrs={"seed": 77, "parent": 0})
    worker = Worker(sqlite_url, "small", small_data, tmp_path)
    worker.wait_epoch(0)
    request_stop(open_study(sqlite_url, asked), StopRequest("host"))
    assert worker.join() == 0
    assert [trial.state for trial in trials(sqlite_url, "small.seeds")] == [TrialState.WAITING]


def test_a_changed_budget_reaches_a_running_worker(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """A lower budget ends the worker after its present trial, a higher one lets it go on; the spec stays otherwise."""
    create(sqlite_url, small_study(trials=1000, epochs=4))
    gate = tmp_path / "gate"
    worker = Worker(sqlite_url, "small", small_data, tmp_path, hook=partial(stand_still, 2, gate))
    worker.wait_epoch(0, trial=0)
    revise(small_study(trials=2, epochs=4, max_retries=7), sqlite_url)
    gate.touch()
    note = worker.wait_for(lambda event: event.kind == "note")
    assert note.text == "follows the changed study: budget, max_retries"
    assert worker.join() == 0
    assert len(outcome_of(sqlite_url)) < 100
    assert "trials are done or running" in worker.events[-1].text


def test_an_old_stop_is_not_a_new_workers(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """A worker that begins after the request works as if it had not been made."""
    create(sqlite_url, small_study(trials=1, epochs=3))
    request_stop(open_study(sqlite_url, "small"), StopRequest("host", now=True))
    time.sleep(0.1)
    worker = Worker(sqlite_url, "small", small_data, tmp_path)
    assert worker.join() == 0
    assert [trial.state for trial in trials(sqlite_url)] == [TrialState.COMPLETE]


def slow_data(reached: Path, gate: Path) -> None:
    """Loading data takes until the file `gate` is there; `reached` is written when it begins."""
    load = worker_module.load_dataset

    def slow(data: Path) -> Dataset:
        reached.touch()
        while not gate.exists():
            time.sleep(0.01)
        return load(data)

    worker_module.load_dataset = slow  # type: ignore[attr-defined]


def test_a_stop_reaches_a_worker_that_is_loading_its_data(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """Converting data takes minutes the first time: a stop asked meanwhile is read before a trial begins."""
    create(sqlite_url, small_study(trials=4, epochs=3))
    reached, gate = tmp_path / "reached", tmp_path / "gate"
    worker = Worker(sqlite_url, "small", small_data, tmp_path, hook=partial(slow_data, reached, gate))
    wait_until(reached.exists, "the data is being loaded")
    request_stop(open_study(sqlite_url, "small"), StopRequest("host"))
    gate.touch()
    assert worker.join() == 0, worker.error
    assert worker.events[-1].text == "lobtuna stop on host"
    assert trials(sqlite_url) == []


def test_a_stop_after_the_command_began_ends_a_worker_before_it_loads_data(sqlite_url: str, tmp_path: Path) -> None:
    """The command looked first and found no stop: the one that its worker finds later concerns this worker."""
    create(sqlite_url, small_study())
    request_stop(open_study(sqlite_url, "small"), StopRequest("host", now=True))
    worker = Worker(sqlite_url, "small", tmp_path / "no data here", tmp_path, known_stop="")
    assert worker.join() == 0, worker.error
    assert [event.text for event in worker.events] == ["lobtuna stop --now on host"]
