"""A worker tells a bad trial from a bad study, keeps to the budget, and runs replicates first."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.errors import SearchError
from search.studyfile.spec import StudySpec
from search.work.events import WAITS
from search.work.options import WorkOptions
from search.work.repeats import MOST
from search.work.worker import work
from tests.machines import Worker, assert_sound, create, small_study, trials

TOO_LARGE = 10_000  # more sequences than the small set has


def study_of_batches(sizes: list[int]) -> StudySpec:
    """A study whose first trials have these batch sizes."""
    fixed = {"hidden_size": 4, "num_layers": 1, "epochs": 1, "lr": {"float": [1e-3, 1e-2], "log": True}}
    return small_study(
        trials=len(sizes),
        parameters={**fixed, "batch_size": {"choices": [12, TOO_LARGE]}},
        baselines=[{"batch_size": size, "lr": 1e-3 + 1e-4 * i} for i, size in enumerate(sizes)],
    )


def test_a_study_that_no_trial_can_be_trained_on_is_refused(tmp_path: Path, small_data: Path) -> None:
    """A batch larger than the data, in every configuration: the first worker says so and no trial is spent."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    fixed = {"hidden_size": 4, "num_layers": 1, "batch_size": TOO_LARGE, "epochs": 1}
    create(url, small_study(parameters={**fixed, "lr": {"float": [1e-3, 1e-2], "log": True}}))
    with pytest.raises(SearchError, match=f"batch_size={TOO_LARGE} \\(the least in the study\\) is larger than its"):
        work(url, "small", small_data, options=WorkOptions(device="cpu"))
    assert trials(url) == []


def test_trials_that_all_fail_for_one_reason_end_the_worker(tmp_path: Path, small_data: Path) -> None:
    """Whatever the cause, it is told before the budget is spent."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, study_of_batches([TOO_LARGE] * 20))
    told = f"{MOST} trials in a row failed here for the same reason: batch_size={TOO_LARGE}"
    with pytest.raises(SearchError, match=told):
        work(url, "small", small_data, options=WorkOptions(device="cpu"))
    states = [trial.state for trial in trials(url) if trial.state != TrialState.WAITING]
    assert states == [TrialState.FAIL] * MOST


def test_bad_trials_among_good_ones_are_not_the_studys_fault(tmp_path: Path, small_data: Path) -> None:
    """As many failures of one kind with a good trial among them change nothing."""
    sizes = [TOO_LARGE] * (MOST - 1) + [12] + [TOO_LARGE] * (MOST - 1)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, study_of_batches(sizes))
    assert work(url, "small", small_data, options=WorkOptions(device="cpu")).outcomes == {"failed": 8, "complete": 1}


def test_the_budget_holds_over_all_workers(small_data: Path, postgres_url: str, tmp_path: Path) -> None:
    """Three workers that race for the last trials overshoot the budget by less than three."""
    create(postgres_url, small_study(trials=4, epochs=1))
    workers = [Worker(postgres_url, "small", small_data, tmp_path) for _ in range(3)]
    assert [worker.join() for worker in workers] == [0, 0, 0]
    assert 4 <= len(trials(postgres_url)) < 4 + 3
    assert_sound(postgres_url)


def test_replicates_come_first(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """Queued replicates are run before the study goes on, with the seed they carry; none is invented."""
    create(sqlite_url, small_study(trials=1, epochs=1))
    seeds = create(sqlite_url, small_study("small.seeds", trials=1000, epochs=1))
    seeds.enqueue_trial({"lr": 2e-3, "head": "linear"}, user_attrs={"seed": 77, "parent": 0})
    worker = Worker(sqlite_url, "small", small_data, tmp_path)
    assert worker.join() == 0
    ended = [(event.study, event.trial) for event in worker.events if event.kind == "end"]
    assert ended == [("small.seeds", 0), ("small", 0)]
    (replicate,) = trials(sqlite_url, "small.seeds")
    assert replicate.user_attrs["seed"] == 77
    assert_sound(sqlite_url, "small.seeds")


def test_only_a_worker_that_stays_says_that_it_waits_for_work(
    small_data: Path, sqlite_url: str, tmp_path: Path
) -> None:
    """With `wait` it does, once there is nothing to do; one that leaves says why it stopped."""
    create(sqlite_url, small_study(trials=1, epochs=1))
    leaves = Worker(sqlite_url, "small", small_data, tmp_path)
    assert leaves.join() == 0
    assert {event.state for event in leaves.events if event.kind == "wait"} == {""}
    stays = Worker(sqlite_url, "small", small_data, tmp_path, wait=True)
    waits = stays.wait_for(lambda event: event.kind == "wait")
    assert waits.state == WAITS and waits.text.startswith("1 of 1 trials")
    stays.terminate()
    assert stays.join() == 0
