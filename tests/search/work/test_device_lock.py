"""Promises of slots on one device: a trial that found too little memory waits for the others and has it alone."""

import time
from pathlib import Path

from optuna.trial import TrialState

from search.study.record import read_trial
from search.work.device_lock import DeviceLock
from tests.machines import CONTEXT, Worker, assert_sound, create, small_study, trials


def _hold(folder: Path, seconds: float, events) -> None:  # type: ignore[no-untyped-def]
    """Share the device for a while."""

    def release() -> None:
        events.put(("released", True, time.monotonic()))

    with DeviceLock("cuda0", folder).shared(lambda: False, release) as ready:
        events.put(("shared", ready, time.monotonic()))
        time.sleep(seconds)
        events.put(("left", ready, time.monotonic()))


def test_an_exclusive_trial_has_the_device_to_itself(tmp_path: Path) -> None:
    """Who wants to be alone waits for the trials that run, and keeps new ones out until it is done."""
    events = CONTEXT.Queue()
    first = CONTEXT.Process(target=_hold, args=(tmp_path, 1.0, events))
    first.start()
    assert events.get(timeout=20)[:2] == ("shared", True)
    with DeviceLock("cuda0", tmp_path).exclusive(lambda: False) as ready:
        assert ready
        now = time.monotonic()
        ended = [events.get(timeout=1) for _ in range(2)]  # memory first, then the device
        assert [name for name, _, _ in ended] == ["left", "released"] and ended[1][2] <= now
        second = CONTEXT.Process(target=_hold, args=(tmp_path, 0.0, events))
        second.start()
        assert events.get(timeout=20)[0] == "released"  # before it waits, not after
        time.sleep(0.5)
        assert events.empty()
        until = time.monotonic()
    assert events.get(timeout=20)[2] >= until
    for process in (first, second):
        process.join(10)


def test_nothing_is_released_where_nobody_waits(tmp_path: Path) -> None:
    """Trials one after another, or beside each other, keep their data where it is."""
    released: list[int] = []
    for _ in range(2):
        with (
            DeviceLock("cuda0", tmp_path).shared(lambda: False, lambda: released.append(1)) as first,
            DeviceLock("cuda0", tmp_path).shared(lambda: False, lambda: released.append(2)) as second,
        ):
            assert first and second
    assert released == []


def test_a_dead_slot_holds_nothing(tmp_path: Path) -> None:
    """The lock of a killed process is free at once."""
    events = CONTEXT.Queue()
    process = CONTEXT.Process(target=_hold, args=(tmp_path, 600.0, events))
    process.start()
    events.get(timeout=20)
    process.kill()
    process.join(10)
    with DeviceLock("cuda0", tmp_path).exclusive(lambda: False) as ready:
        assert ready


def test_a_stop_ends_the_wait(tmp_path: Path) -> None:
    """A worker that is told to stop does not wait to be alone."""
    with (
        DeviceLock("cuda0", tmp_path).shared(lambda: False, lambda: None),
        DeviceLock("cuda0", tmp_path).exclusive(lambda: True) as ready,
    ):
        assert not ready


def _short_of_memory_once() -> None:
    """The second epoch of a trial finds no memory, the first time it is tried."""
    from lobmodels.errors import DeviceMemoryError
    from lobmodels.training.run import TrainingRun

    train_epoch, failed = TrainingRun.train_epoch, []

    def failing(self):  # type: ignore[no-untyped-def]
        if self.epoch == 1 and not failed:
            failed.append(1)
            raise DeviceMemoryError("out of memory on cuda:0: tried to allocate 2.00 GiB")
        return train_epoch(self)

    TrainingRun.train_epoch = failing  # type: ignore[method-assign]


def _always_short_of_memory() -> None:
    """No epoch ever finds memory."""
    from lobmodels.errors import DeviceMemoryError
    from lobmodels.training.run import TrainingRun

    def failing(self):  # type: ignore[no-untyped-def]
        raise DeviceMemoryError("out of memory on cuda:0: tried to allocate 2.00 GiB")

    TrainingRun.train_epoch = failing  # type: ignore[method-assign]


def test_out_of_memory_in_a_shared_slot_is_tried_once_alone(small_data: Path, tmp_path: Path) -> None:
    """The trial goes on alone from its last epoch and completes; one that fails alone too is a failed trial with its
    reason, and the slot goes on."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study(trials=1, epochs=3))
    shared = tmp_path.name
    worker = Worker(url, "small", small_data, tmp_path, hook=_short_of_memory_once, shared_device=shared)
    assert worker.join() == 0
    kinds = [event.kind for event in worker.events]
    assert kinds.count("note") == 1
    assert kinds.index("note") < kinds.index("resume")
    assert [trial.state for trial in trials(url)] == [TrialState.COMPLETE]
    assert_sound(url)

    create(url, small_study("hopeless", trials=2, epochs=3))
    worker = Worker(url, "hopeless", small_data, tmp_path, hook=_always_short_of_memory, shared_device=shared)
    assert worker.join() == 0
    failed = [read_trial("hopeless", trial) for trial in trials(url, "hopeless")]
    assert [(trial.state, trial.failure) for trial in failed] == [("failed", "out of memory")] * 2
    assert all("out of memory on cuda:0" in trial.reason for trial in failed)
