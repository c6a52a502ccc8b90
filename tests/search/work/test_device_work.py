"""What a trial hands to the worker's turns: its run, its epochs with the state after each, and a measurement."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lobmodels.config import RunConfig
from lobmodels.data import Dataset, SplitRule
from search.studyfile.spec import ValidationSpec
from search.work.context import WorkerContext
from search.work.device_work import DeviceWork
from search.work.lane import Lane
from search.work.room import Room
from search.work.stopping import Stop
from search.work.task import Task
from search.work.watchdog import Watchdog

CONFIG = RunConfig.parse({"hidden_size": 4, "num_layers": 1, "batch_size": 8, "epochs": 3})


class Memory:
    """Stands for the stored state: keeps the epoch of each state that is taken."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def take(self, run: Any) -> None:
        assert run.state()
        self.taken.append(run.epoch)


def served(context: WorkerContext, use: Callable[[DeviceWork], Any]) -> Any:
    """`use` in a thread of its own, while its jobs are computed here."""
    results: list[Any] = []
    notes: list[str] = []

    def lane() -> None:
        with Watchdog(lambda _: None) as watchdog:
            results.append(use(DeviceWork(context, Lane(0, session=None), watchdog, notes.append)))  # type: ignore[arg-type]

    thread = threading.Thread(target=lane)
    thread.start()
    context.turns.serve(thread.is_alive)
    thread.join()
    return (*results, notes)


@pytest.fixture
def context(small_dataset: Dataset) -> WorkerContext:
    """What trials on the CPU share."""
    return WorkerContext(small_dataset, torch.device("cpu"), "host:1", Stop(), lambda _: None, Room(4, 1))


def task() -> Task:
    return Task(CONFIG, 0, None, SplitRule(), None, ValidationSpec())


def test_an_epoch_and_its_state(context: WorkerContext) -> None:
    """The record of the epoch comes back when its state is in memory, and the clock of the wall is kept beside it."""
    memory = Memory()

    def use(device: DeviceWork) -> Any:
        run = device.build(task())
        records = [device.epoch(run, memory) for _ in range(2)]  # type: ignore[arg-type]
        return [record.epoch for record in records if record is not None], device.lasted, records[-1]

    (epochs, lasted, last), notes = served(context, use)
    assert epochs == [0, 1] and memory.taken == [1, 2] and notes == []
    assert last is not None and lasted >= last.seconds > 0


def test_a_stop_at_once_leaves_the_epoch(context: WorkerContext) -> None:
    """Nothing is recorded, and no state is taken of half an epoch."""
    memory = Memory()

    def use(device: DeviceWork) -> Any:
        run = device.build(task())
        context.stop.at_once = True
        return device.epoch(run, memory)  # type: ignore[arg-type]

    assert served(context, use) == (None, []) and memory.taken == []


def test_the_first_run_measures(context: WorkerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the number of runs at once is open, the first one settles it, once."""

    def measured(config: RunConfig, data: Any, count: int) -> Any:
        yield
        return {1: 3.0, 2: 1.0, 4: 2.0}[count]

    monkeypatch.setattr("lobmodels.training.throughput.epoch_seconds", measured)
    context.undecided = True
    _, notes = served(context, lambda device: [device.build(task()), device.build(task())])
    assert (context.room.limit, context.undecided) == (2, False)
    assert len(notes) == 1 and notes[0].endswith("2 train at once from here")
