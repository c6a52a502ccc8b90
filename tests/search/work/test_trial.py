"""One trial and the record that each way of ending leaves; workers here are real, in the test's process."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from search.study.record import TrialRecord, read_trial
from search.work.events import Event
from search.work.options import WorkOptions, WorkSummary
from search.work.stopping import Stop
from search.work.worker import work
from storage.backends.registry import open_store
from storage.optuna_internals import reports
from tests.machines import create, small_study, trials


@pytest.fixture
def url(tmp_path: Path) -> str:
    """URL of a new database file."""
    return f"sqlite:///{tmp_path / 'study.db'}"


def run(url: str, data: Path, *, stop: Stop | None = None, emit: Any = None) -> WorkSummary:
    """Work on the study until its budget is spent."""
    options = WorkOptions(device="cpu", checkpoint_every=0.0)
    return work(url, "small", data, options=options, stop=stop, emit=emit or (lambda _: None))


def records(url: str) -> list[TrialRecord]:
    return [read_trial("small", trial) for trial in trials(url)]


def test_a_complete_trial_has_its_whole_record(small_data: Path, url: str) -> None:
    """Configuration, seed, history, scores of both splits, weights and the table of its epochs; no stored state."""
    create(url, small_study(trials=1, epochs=3, seed=40))
    assert run(url, small_data).outcomes == {"complete": 1}
    (record,) = records(url)
    assert (record.state, record.seed, record.device, record.attempt) == ("complete", 40, "cpu", 1)
    assert record.configuration["hidden_size"] == 4 and record.configured and record.key
    assert record.epochs == 3 and record.value == record.select["mean"] == pytest.approx(max(record.means), rel=1e-5)
    assert set(record.select) == set(record.report) == {"t0", "t1", "mean"}
    assert record.parameters and record.seconds > 0 and record.seconds_per_epoch == record.seconds / 3
    artifacts = [json.loads(v) for k, v in record.frozen.system_attrs.items() if k.startswith("artifacts:")]
    assert sorted(artifact["filename"] for artifact in artifacts) == ["small-0.csv", "small-0.safetensors"]
    assert record.checkpoint in {artifact["artifact_id"] for artifact in artifacts}


def test_a_pruned_trial_says_after_how_many_epochs(small_data: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pruner's decision ends the run; its value is its best epoch's."""
    pruner = {"name": "median", "warmup_epochs": 0, "startup_trials": 1, "patience": 0}
    create(url, small_study(trials=1, epochs=4, pruner=pruner))
    monkeypatch.setattr("optuna.pruners.PercentilePruner.prune", lambda *_: True)
    assert run(url, small_data).outcomes == {"pruned": 1}
    (record,) = records(url)
    assert (record.state, record.reason) == ("pruned", f"pruned after {record.epochs} epochs")
    assert record.epochs < 4 and record.value == max(record.frozen.intermediate_values.values())
    assert record.checkpoint is None


def test_a_poor_run_is_pruned_at_its_first_judged_epoch(small_data: Path, url: str) -> None:
    """By the trials that had finished when it began, at once: runs may be shorter than the pause between two reads."""
    pruner = {"name": "median", "warmup_epochs": 1, "startup_trials": 2, "patience": 0}
    create(url, small_study(trials=10, epochs=5, pruner=pruner))
    run(url, small_data)
    finished: list[list[float]] = []
    pruned = 0
    for record in records(url):
        behind = [
            epoch
            for epoch in range(1, min(4, record.epochs))
            if len(finished) >= 2 and record.best_so_far[epoch] < statistics.median(run[epoch] for run in finished)
        ]
        expected = behind[0] + 1 if behind else 5
        assert (record.epochs, record.state) == (expected, "pruned" if behind else "complete")
        pruned += bool(behind)
        if not behind:
            finished.append(record.means)
    assert pruned >= 2


def test_a_study_without_a_pruner_asks_none(small_data: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pruner: none` costs nothing an epoch."""
    create(url, small_study(trials=1, epochs=2))
    monkeypatch.setattr("optuna.pruners.NopPruner.prune", lambda *_: pytest.fail("asked"))
    assert run(url, small_data).outcomes == {"complete": 1}


def test_a_failed_trial_keeps_the_epochs_before(small_data: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reason is one line, and what it trained is still in its history."""
    from lobmodels.errors import TrainingError
    from lobmodels.training.run import TrainingRun

    steps = TrainingRun.steps

    def diverge(self: TrainingRun) -> Any:
        if self.epoch == 2:
            raise TrainingError("the loss is not finite\nin epoch 2")
        return steps(self)

    monkeypatch.setattr(TrainingRun, "steps", diverge)
    create(url, small_study(trials=1, epochs=4))
    assert run(url, small_data).outcomes == {"failed": 1}
    (record,) = records(url)
    assert (record.state, record.reason, record.epochs) == ("failed", "the loss is not finite in epoch 2", 2)
    assert record.configured and record.seconds > 0


def test_a_stopped_trial_is_handed_back_with_its_state(small_data: Path, url: str) -> None:
    """It waits in the queue, resumable at the next epoch; the next worker emits `resume` and completes it."""
    create(url, small_study(trials=1, epochs=4))
    stop = Stop()

    def stop_after_two(event: Event) -> None:
        if event.kind == "epoch" and event.epoch == 1:
            stop.ask("test")

    assert run(url, small_data, stop=stop, emit=stop_after_two).outcomes == {"handed back": 1}
    (record,) = records(url)
    assert record.state == "waiting" and record.stored_state is not None and record.stored_state.epoch == 2
    events: list[Event] = []
    assert run(url, small_data, emit=events.append).outcomes == {"complete": 1}
    assert [event.epoch for event in events if event.kind == "resume"] == [2]
    assert [event.epoch for event in events if event.kind == "epoch"] == [2, 3]
    assert records(url)[0].epochs == 4


def test_a_run_is_not_pruned_after_its_last_epoch(small_data: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left to save then: the run completes and keeps its weights, though the pruner would end it."""
    pruner = {"name": "median", "warmup_epochs": 0, "startup_trials": 1, "patience": 0}
    create(url, small_study(trials=1, epochs=1, pruner=pruner))
    monkeypatch.setattr("optuna.pruners.PercentilePruner.prune", lambda *_: True)
    assert run(url, small_data).outcomes == {"complete": 1}
    assert records(url)[0].checkpoint is not None


def test_a_resumed_run_reports_what_its_state_knows(small_data: Path, url: str) -> None:
    """The worker before was killed after it stored the state of an epoch and before it stored that epoch's report."""
    create(url, small_study(trials=1, epochs=4))
    stop = Stop()

    def stop_after_two(event: Event) -> None:
        if event.kind == "epoch" and event.epoch == 1:
            stop.ask("test")

    assert run(url, small_data, stop=stop, emit=stop_after_two).outcomes == {"handed back": 1}
    engine = open_store(url).engine
    assert engine is not None
    with engine.begin() as connection:
        connection.execute(reports.delete().where(reports.c.step == 1))
    assert run(url, small_data).outcomes == {"complete": 1}
    (trial,) = trials(url)
    means = [epoch["mean"] for epoch in trial.user_attrs["history"]]
    assert [float(f"{value:.6g}") for _, value in sorted(trial.intermediate_values.items())] == means
