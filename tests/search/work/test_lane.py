"""Several runs of one worker at once are what each is alone: in results, in how they end, and when the worker dies."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from lobmodels.errors import DeviceMemoryError, TrainingError
from lobmodels.training.run import TrainingRun
from search.study.record import read_trial
from search.studyfile.spec import StudySpec
from search.work.events import Event
from search.work.options import WorkOptions
from search.work.stopping import Stop
from search.work.worker import work
from storage.claims import LOSSES
from tests.machines import Worker, assert_sound, create, small_study, trials, wait_stored
from tests.pace import stand_still, stand_still_until_stopped
from tests.search.work.aftermath import trained_alone

AT_ONCE = 3


def mixed_study(trials: int = 6, epochs: int = 3, **terms: Any) -> StudySpec:
    """A study whose trials differ in architecture, loss, inputs and schedule, and draw random numbers as they train."""
    parameters = {
        "architecture": {"choices": ["gru", "lstm", "gru_attention"]},
        "hidden_size": 4,
        "num_layers": 2,
        "attention_heads": 2,
        "batch_size": 8,
        "epochs": epochs,
        "early_stopping": epochs,
        "dropout": 0.2,
        "derived": {"choices": [True, False]},
        "scheduler": {"choices": ["onecycle", "plateau"]},
        "lr": {"float": [1e-3, 1e-2], "log": True},
    }
    return small_study(trials=trials, epochs=epochs, parameters=parameters, **terms)


def run(url: str, data: Path, count: int | None = AT_ONCE, **rest: Any) -> dict[str, int]:
    """Work in this process with so many runs at once; returns how trials ended."""
    options = WorkOptions(device="cpu", checkpoint_every=0.0, grace=4.0, runs_per_device=count)
    return work(url, "small", data, options=options, **rest).outcomes


def assert_as_alone(url: str, data: Path) -> None:
    """Every complete trial has the value that its configuration and seed have when trained alone, bit for bit."""
    for trial in trials(url):
        if trial.state == TrialState.COMPLETE:
            assert trial.value == trained_alone(data, trial), trial.number


def met(enough: Callable[[], bool]) -> Iterator[None]:
    """Steps that compute nothing, until `enough()`: a run waits for others to begin, for five minutes at most."""
    end = time.monotonic() + 300.0
    while not enough() and time.monotonic() < end:
        time.sleep(0.005)
        yield


class Together:
    """Counts how many runs are in the middle of an epoch at a time. The first ones wait until `wanted` are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wanted: int = AT_ONCE) -> None:
        self.most, self._now = 0, 0
        steps = TrainingRun.steps

        def counted(run: TrainingRun) -> Any:
            self._now += 1
            self.most = max(self.most, self._now)
            try:
                yield from met(lambda: self.most >= wanted)
                yield from steps(run)
            finally:
                self._now -= 1

        monkeypatch.setattr(TrainingRun, "steps", counted)


def test_runs_at_once_are_what_each_is_alone(
    small_data: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three at once over all architectures, with dropout, schedules and two kinds of inputs, stopped in the middle and
    resumed by another worker: every value is that of the run alone. Steps of several runs did alternate."""
    create(sqlite_url, mixed_study(epochs=5))
    together, stop = Together(monkeypatch), Stop()
    ended: list[int] = []

    def stop_in_the_middle(event: Event) -> None:
        if event.kind == "epoch":
            ended.append(event.trial or 0)
            if len(ended) == 7:
                stop.ask("test")

    first = run(sqlite_url, small_data, stop=stop, emit=stop_in_the_middle)
    assert first["handed back"] >= 1
    events: list[Event] = []
    second = run(sqlite_url, small_data, emit=events.append)
    assert first.get("complete", 0) + second["complete"] == 6
    assert any(event.kind == "resume" and event.epoch for event in events)
    assert {event.lane for event in events if event.kind == "epoch"} == {0, 1, 2}
    assert together.most == AT_ONCE
    monkeypatch.undo()
    assert_as_alone(sqlite_url, small_data)
    assert_sound(sqlite_url)


def test_one_is_pruned_and_the_others_go_on(small_data: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pruner sees the trial that asks and ends that one; the others are not touched by it."""
    create(
        sqlite_url,
        small_study(
            trials=6, epochs=3, pruner={"name": "median", "warmup_epochs": 0, "startup_trials": 1, "patience": 0}
        ),
    )
    monkeypatch.setattr("optuna.pruners.PercentilePruner.prune", lambda _, study, trial: trial.number in (1, 4))
    assert run(sqlite_url, small_data) == {"complete": 4, "pruned": 2}
    assert [trial.number for trial in trials(sqlite_url) if trial.state == TrialState.PRUNED] == [1, 4]
    assert_as_alone(sqlite_url, small_data)


@pytest.mark.parametrize(
    "error",
    [
        TrainingError("training loss is nan"),
        pytest.param(ZeroDivisionError("division by zero"), marks=pytest.mark.soak),
    ],
)
def test_one_fails_and_the_others_go_on(
    error: Exception, small_data: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that diverges, or meets a bug, in the middle of an epoch fails with its reason; the others are what they
    are alone."""
    create(sqlite_url, small_study(trials=6, epochs=3))
    step = TrainingRun._step
    bad: list[int] = []

    def failing(run: TrainingRun, *batch: Any) -> Any:
        if run.epoch == 1 and run.seed == trial_seed:
            bad.append(run.seed)
            raise error
        return step(run, *batch)

    trial_seed = small_study(trials=6, epochs=3).trial_seed(2)
    monkeypatch.setattr(TrainingRun, "_step", failing)
    assert run(sqlite_url, small_data) == {"complete": 5, "failed": 1}
    assert len(bad) == 1
    failed = read_trial("small", trials(sqlite_url)[2])
    assert (failed.state, failed.epochs) == ("failed", 1) and str(error) in failed.reason
    monkeypatch.undo()
    assert_as_alone(sqlite_url, small_data)


def test_too_little_memory_for_all_is_enough_for_fewer(
    small_data: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device with memory for two runs none of six is lost: the third is set aside and goes on from its last epoch
    when fewer train; no more than fit are tried again at once."""
    create(sqlite_url, small_study(trials=6, epochs=3))
    steps, inside, seen = TrainingRun.steps, set[int](), set[int]()

    def limited(run: TrainingRun) -> Any:
        inside.add(run.seed)
        seen.add(run.seed)
        try:
            yield from met(lambda: len(seen) > 2)
            for _ in steps(run):
                if len(inside) > 2:
                    raise DeviceMemoryError("out of memory on cuda:0: tried to allocate 2.00 GiB")
                yield
        finally:
            inside.discard(run.seed)

    monkeypatch.setattr(TrainingRun, "steps", limited)
    events: list[Event] = []
    assert run(sqlite_url, small_data, emit=events.append) == {"complete": 6}
    notes = [event.text for event in events if event.kind == "note"]
    assert 1 <= len(notes) <= 2 and all("when fewer runs train at once" in text for text in notes)
    monkeypatch.undo()
    assert all(trial.user_attrs["attempt"] == 1 for trial in trials(sqlite_url))
    assert_as_alone(sqlite_url, small_data)


def test_a_run_that_finds_no_memory_alone_fails(
    small_data: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer runs do not help it: it fails with its reason, after the others have made room."""
    create(sqlite_url, small_study(trials=6, epochs=3))
    step, large = TrainingRun._step, small_study(trials=6, epochs=3).trial_seed(1)

    def failing(run: TrainingRun, *batch: Any) -> Any:
        if run.seed == large:
            raise DeviceMemoryError("out of memory on cuda:0: tried to allocate 2.00 GiB")
        return step(run, *batch)

    monkeypatch.setattr(TrainingRun, "_step", failing)
    assert run(sqlite_url, small_data) == {"complete": 5, "failed": 1}
    failed = read_trial("small", trials(sqlite_url)[1])
    assert (failed.state, failed.failure) == ("failed", "out of memory")


def test_a_lost_device_fails_one_run_and_hands_the_others_back(
    small_data: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error that breaks the device for the process, the run that met it fails; the others are queued again at
    their last epoch, and the process asks to be replaced."""
    from search.errors import RestartNeeded

    create(sqlite_url, small_study(trials=6, epochs=3))
    step, guilty = TrainingRun._step, small_study(trials=6, epochs=3).trial_seed(0)
    broken = threading.Event()

    def failing(run: TrainingRun, *batch: Any) -> Any:
        if broken.is_set() or (run.epoch == 1 and run.seed == guilty):
            broken.set()
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return step(run, *batch)

    monkeypatch.setattr(TrainingRun, "_step", failing)
    with pytest.raises(RestartNeeded, match="illegal memory access"):
        run(sqlite_url, small_data)
    states = Counter(trial.state for trial in trials(sqlite_url))
    assert states[TrialState.FAIL] == 1 and trials(sqlite_url)[0].state == TrialState.FAIL
    assert states[TrialState.WAITING] == len(trials(sqlite_url)) - 1 - states[TrialState.COMPLETE]
    monkeypatch.undo()
    run(sqlite_url, small_data)
    assert all(LOSSES not in trial.system_attrs for trial in trials(sqlite_url))
    assert_as_alone(sqlite_url, small_data)


def test_most_trials_of_a_worker_count_those_that_run(small_data: Path, sqlite_url: str) -> None:
    """`--trials 4` with three at once runs four, not six."""
    create(sqlite_url, small_study(trials=9, epochs=2))
    options = WorkOptions(device="cpu", trials=4, runs_per_device=AT_ONCE, grace=1.0)
    summary = work(sqlite_url, "small", small_data, options=options)
    assert summary.outcomes == {"complete": 4} and summary.stopped == "4 trials done here"
    assert len(trials(sqlite_url)) == 4


def test_the_number_is_measured(small_data: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` measures with the first trial, says what it found, and trains as many at once."""
    monkeypatch.setattr(WorkOptions, "runs_at_once", lambda options, device: (8, 1))  # as on a GPU
    monkeypatch.setattr("lobmodels.training.throughput.epoch_seconds", faked({1: 4.0, 2: 2.0, 4: 1.0, 8: 1.0}))
    create(sqlite_url, small_study(trials=12, epochs=6))
    together = Together(monkeypatch, wanted=4)
    events: list[Event] = []
    assert run(sqlite_url, small_data, None, emit=events.append) == {"complete": 12}
    told = "seconds of an epoch by runs at once: 1: 4.00 s, 2: 2.00 s, 4: 1.00 s, 8: 1.00 s; 4 train at once from here"
    assert [event.text for event in events if event.kind == "note"] == [told]
    assert together.most == 4


def faked(seconds: dict[int, float]) -> Any:
    """Stands for the measurement, which on a CPU finds one run at a time best."""

    def measured(config: Any, data: Any, count: int) -> Any:
        yield
        return seconds[count]

    return measured


def test_killed_with_three_at_once(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """kill -9: the claims of all three expire, and the next worker goes on with each at its last stored epoch."""
    create(sqlite_url, mixed_study(trials=AT_ONCE, epochs=4))
    first = Worker(sqlite_url, "small", small_data, tmp_path, hook=partial(stand_still, 2), runs_per_device=AT_ONCE)
    wait_stored(sqlite_url, epochs=2, numbers=range(AT_ONCE))
    first.kill()
    assert [trial.state for trial in trials(sqlite_url)] == [TrialState.RUNNING] * AT_ONCE
    second = Worker(sqlite_url, "small", small_data, tmp_path, runs_per_device=AT_ONCE)
    assert second.join() == 0
    assert sorted(event.trial for event in second.events if event.kind == "resume") == [0, 1, 2]
    assert [trial.user_attrs["attempt"] for trial in trials(sqlite_url)] == [2] * AT_ONCE
    assert_sound(sqlite_url)
    assert_as_alone(sqlite_url, small_data)


def test_a_signal_hands_all_three_back(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """SIGTERM: each run ends its epoch, stores it and is queued; exit 0, no attempt is counted."""
    create(sqlite_url, mixed_study(trials=AT_ONCE, epochs=3))
    options = {"runs_per_device": AT_ONCE, "grace": 600.0, "checkpoint_every": 600.0}
    leaving = Worker(sqlite_url, "small", small_data, tmp_path, hook=partial(stand_still_until_stopped, 1), **options)
    for number in range(AT_ONCE):
        leaving.wait_epoch(0, trial=number)
    leaving.terminate()
    assert leaving.join() == 0
    handed_back = trials(sqlite_url)
    assert [trial.state for trial in handed_back] == [TrialState.WAITING] * AT_ONCE
    peer = Worker(sqlite_url, "small", small_data, tmp_path, **options)
    assert peer.join() == 0
    resumed = {event.trial: event.epoch for event in peer.events if event.kind == "resume"}
    assert resumed == {trial.number: len(trial.intermediate_values) for trial in handed_back}
    assert all(trial.user_attrs["attempt"] == 1 for trial in trials(sqlite_url))
    assert_as_alone(sqlite_url, small_data)
