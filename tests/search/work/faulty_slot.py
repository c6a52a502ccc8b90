"""A slot whose trials meet planned faults: `python -m tests.search.work.faulty_slot` in the place of the real one.

`FAULTS_OF` names the plan: `some`, `all` or `hangs`. The plan gives each trial one fault at one stage by the trial's
number, so that any slot that takes it meets it.
"""

from __future__ import annotations

import itertools
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lobmodels.errors import CheckpointError, ConfigError, DataError, DeviceMemoryError, TrainingError
from lobmodels.training.finish import Finished
from lobmodels.training.run import TrainingRun
from search.errors import SearchError, SpaceError
from search.work import slot, trial, watchdog
from search.work.context import WorkerContext
from search.work.trial import TrialInProgress
from storage.backends.sql_fleet import SqlFleet
from storage.errors import ArtifactError

PLAN, FOLDER, LIMIT, BESIDE = "FAULTS_OF", "HANG_FOLDER", "HANG_LIMIT", "HANG_BESIDE"  # environment variables
COMMAND = (sys.executable, "-m", "tests.search.work.faulty_slot")

Fault = Callable[[], Exception]
FAULTS: list[Fault] = [
    lambda: ConfigError("hidden_size=30 is no multiple of attention_heads=4"),
    lambda: TrainingError("training loss is nan: the run diverged"),
    lambda: torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    lambda: DeviceMemoryError("out of memory on cuda:0: tried to allocate 2.00 GiB"),
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    lambda: MemoryError("cannot allocate"),
    lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x3 and 4x3)"),
    lambda: ZeroDivisionError("division by zero"),
    lambda: FloatingPointError("underflow"),
    lambda: KeyError("elman"),
    lambda: IndexError("list index out of range"),
    lambda: RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    lambda: AttributeError("'NoneType' object has no attribute 'shape'"),
    lambda: TypeError("unsupported operand"),
    lambda: AssertionError(),
    lambda: OSError(28, "No space left on device"),
    lambda: FileNotFoundError(2, "No such file or directory"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    lambda: DataError("the cache of the sequences was removed"),
    lambda: CheckpointError("the state is incomplete"),
    lambda: ArtifactError("access to the bucket was denied"),
    lambda: SpaceError("lr=0.5 is not from 0.001 to 0.01"),
    lambda: SearchError("trial 3 has no configuration"),
    lambda: StopIteration(),
    lambda: RecursionError("maximum recursion depth exceeded"),
    lambda: ConnectionResetError(104, "Connection reset by peer"),
    lambda: RuntimeError("CUDA error: device-side assert triggered"),
]
STAGES = [
    "parameters", "start", "data", "build", "first batch", "mid-epoch", "validation", "state", "report", "pruning",
    "checkpoint", "result", "summary", "table", "upload", "write",
]  # fmt: skip
AFTER = "clean-up"  # a stage after the end: the trial keeps its outcome
HANGS = ("sleep", "network", "library")  # by trial


def planned(name: str) -> list[tuple[Fault, str]]:
    """The fault and stage of each trial: every fault at every stage, or every fault and every stage at least once."""
    if name == "all":
        return [(fault, stage) for stage, fault in itertools.product([*STAGES, AFTER], FAULTS)]
    return [(fault, [*STAGES, AFTER][i % (len(STAGES) + 1)]) for i, fault in enumerate(FAULTS)]


class Injector:
    """Raises the fault of the present trial once, at its stage."""

    def __init__(self, plan: list[tuple[Fault, str]]) -> None:
        self.plan = plan
        self.number = -1
        self.raised: set[int] = set()
        self.batches = 0

    def at(self, stage: str) -> None:
        """Raise where this stage of the present trial has its turn."""
        if 0 <= self.number < len(self.plan) and self.number not in self.raised and self.plan[self.number][1] == stage:
            self.raised.add(self.number)
            raise self.plan[self.number][0]()

    def before(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, with the fault of `stage` before it."""

        def call(*arguments: Any, **named: Any) -> Any:
            self.at(stage)
            return function(*arguments, **named)

        return call

    def batch(self, run: TrainingRun, x: torch.Tensor, _inner: Any = TrainingRun._augmented) -> torch.Tensor:
        """Called for each batch: the first of a run, and one in the middle of its second epoch."""
        if run.epoch == 0:
            self.at("first batch")
        self.batches += 1
        if run.epoch == 1 and self.batches % 2:
            self.at("mid-epoch")
        return _inner(run, x)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put the faults into the worker's own calls."""
        begin = TrialInProgress.__init__

        def begun(this: TrialInProgress, *arguments: Any) -> None:
            begin(this, *arguments)
            self.number = this.number

        patch.setattr(TrialInProgress, "__init__", begun)
        patch.setattr(TrainingRun, "_augmented", lambda run, x: self.batch(run, x))
        for owner, name, stage in (
            (trial, "suggest", "parameters"),
            (trial, "write_start", "start"),
            (WorkerContext, "data_for", "data"),
            (TrainingRun, "__init__", "build"),
            (TrainingRun, "_evaluate", "validation"),
            (TrainingRun, "state", "state"),
            (trial, "write_epoch", "report"),
            (TrialInProgress, "_should_prune", "pruning"),
            (trial.ResumeState, "_upload", "checkpoint"),
            (TrainingRun, "finish", "result"),
            (Finished, "checkpoint", "summary"),
            (trial, "history_csv", "table"),
            (trial, "store_files", "upload"),
            (SqlFleet, "write", "write"),
            (trial, "make_room", AFTER),
        ):
            patch.setattr(owner, name, self.before(stage, getattr(owner, name)))


def hang(kind: str) -> None:
    """Never return, in one of the ways in which a run hangs."""
    if kind == "sleep":
        while True:
            time.sleep(3600)
    if kind == "network":  # a server that accepts and never answers
        server = socket.create_server(("127.0.0.1", 0))
        socket.create_connection(server.getsockname()).recv(1)
    import ctypes

    mutex = ctypes.create_string_buffer(64)  # a call of a library that does not even return at a signal
    while True:
        ctypes.CDLL(None).pthread_mutex_lock(mutex)


def install_hangs(patch: pytest.MonkeyPatch, folder: Path, limit: float) -> None:
    """The first attempt at each of the first trials hangs in its second epoch, and leaves a file there that says so.

    `BESIDE` trials train at once: it hangs once each has ended an epoch.
    """
    train, begin = TrainingRun.steps, TrialInProgress.__init__
    numbers: dict[int, int] = {}  # by seed: several trials may train at once
    trained: set[int] = set()  # those that have ended an epoch
    beside = int(os.environ.get(BESIDE, "1"))

    def begun(this: TrialInProgress, *arguments: Any) -> None:
        begin(this, *arguments)
        numbers[this.session.spec.trial_seed(this.number)] = this.number

    def steps(run: TrainingRun) -> Any:
        number = numbers[run.seed]
        if run.epoch >= 1:
            trained.add(number)
        first = number < len(HANGS) and not (folder / f"{number}.hung").exists()
        if first and run.epoch >= 1 and len(trained) >= beside:
            (folder / f"{number}.hung").touch()
            hang(HANGS[number])
        return train(run)

    patch.setattr(TrialInProgress, "__init__", begun)
    patch.setattr(TrainingRun, "steps", steps)
    patch.setattr(watchdog, "LEAST", limit)
    patch.setattr(watchdog, "LEAST_STOPPING", 1.0)
    patch.setattr(watchdog, "TICK", 0.1)


def install() -> None:
    """Prepare this process for the plan in the environment."""
    name, patch = os.environ[PLAN], pytest.MonkeyPatch()
    if name == "hangs":
        install_hangs(patch, Path(os.environ[FOLDER]), float(os.environ[LIMIT]))
    else:
        Injector(planned(name)).install(patch)


if __name__ == "__main__":
    install()
    sys.exit(slot.main())
