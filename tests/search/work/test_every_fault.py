"""Any exception at any stage of a trial ends that trial with its reason, and never the worker."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lobmodels.errors import CheckpointError, ConfigError, DataError, DeviceMemoryError, TrainingError
from lobmodels.training.run import TrainingRun
from search.errors import RestartNeeded
from search.study.record import read_trial
from search.work import trial as module
from search.work.context import WorkerContext
from search.work.events import Event
from search.work.options import WorkOptions
from search.work.worker import work
from storage.errors import ArtifactError
from tests.machines import assert_sound, create, small_study, trials

FAULTS: list[Callable[[], Exception]] = [
    lambda: ConfigError("hidden_size=30 is no multiple of attention_heads=4"),
    lambda: TrainingError("training loss is nan: the run diverged"),
    lambda: DeviceMemoryError("out of memory on cuda:0: tried to allocate 2.00 GiB"),
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    lambda: MemoryError("cannot allocate"),
    lambda: torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    lambda: RuntimeError("CUDA error: device-side assert triggered"),
    lambda: RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling cublasCreate(handle)"),
    lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x3 and 4x3)"),
    lambda: ZeroDivisionError("division by zero"),
    lambda: FloatingPointError("underflow"),
    lambda: KeyError("elman"),
    lambda: IndexError("list index out of range"),
    lambda: AttributeError("'NoneType' object has no attribute 'shape'"),
    lambda: TypeError("unsupported operand"),
    lambda: AssertionError(),
    lambda: OSError(28, "No space left on device"),
    lambda: FileNotFoundError(2, "No such file or directory"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    lambda: DataError("the cache of the sequences was removed"),
    lambda: CheckpointError("the state is incomplete"),
    lambda: ArtifactError("access to the bucket was denied"),
    lambda: StopIteration(),
]
STAGES = ["data", "build", "first epoch", "later epoch", "validation", "state", "report", "result", "table", "upload"]


class Injector:
    """Raises the planned fault once in each trial: that of trial n is `plan[n]`."""

    def __init__(self, plan: list[tuple[Callable[[], Exception], str]]) -> None:
        self.plan = plan
        self.number = -1
        self.raised: list[int] = []

    def listen(self, event: Event) -> None:
        if event.kind == "start":
            assert event.trial is not None
            self.number = event.trial

    def at(self, stage: str) -> None:
        """Raise where this stage of the present trial has its turn."""
        if self.number < len(self.plan) and self.number not in self.raised and self.plan[self.number][1] == stage:
            self.raised.append(self.number)
            raise self.plan[self.number][0]()

    def before(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, with the fault of `stage` before it."""

        def call(*arguments: Any, **named: Any) -> Any:
            self.at(stage)
            return function(*arguments, **named)

        return call

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the faults into the worker's own calls."""
        injector = self

        class Faulty(TrainingRun):
            def __init__(self, *arguments: Any, **named: Any) -> None:
                injector.at("build")
                super().__init__(*arguments, **named)

            def train_epoch(self) -> Any:
                injector.at("first epoch" if self.epoch == 0 else "later epoch")
                record = super().train_epoch()
                injector.at("validation")
                return record

            state = injector.before("state", TrainingRun.state)
            result = injector.before("result", TrainingRun.result)

        monkeypatch.setattr(module, "TrainingRun", Faulty)
        monkeypatch.setattr(WorkerContext, "data_for", injector.before("data", WorkerContext.data_for))
        for stage, name in (("report", "write_epoch"), ("table", "history_csv"), ("upload", "store_files")):
            monkeypatch.setattr(module, name, injector.before(stage, getattr(module, name)))


def planned(whole: bool) -> list[tuple[Callable[[], Exception], str]]:
    """Every fault at every stage, or every fault once and every stage twice; neighbours are of different kinds."""
    if whole:
        return [(fault, stage) for stage, fault in itertools.product(STAGES, FAULTS)]
    return [(fault, STAGES[i % len(STAGES)]) for i, fault in enumerate(FAULTS)]


@pytest.mark.parametrize(
    "whole", [False, pytest.param(True, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])], ids=["some", "all"]
)
def test_a_fault_ends_one_trial(whole: bool, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each injected fault fails its own trial with a reason; the last trial, without a fault, completes; a broken
    device asks for a fresh process and for nothing else."""
    plan = planned(whole)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study(trials=len(plan) + 1, epochs=2))
    injector = Injector(plan)
    injector.install(monkeypatch)
    restarts = 0
    while True:
        try:
            work(url, "small", small_data, options=WorkOptions(device="cpu"), emit=injector.listen)
            break
        except RestartNeeded:
            restarts += 1
    records = [read_trial("small", trial) for trial in trials(url)]
    assert injector.raised == list(range(len(plan)))
    assert [record.state for record in records] == ["failed"] * len(plan) + ["complete"]
    assert all(record.reason and record.failure for record in records[:-1])
    assert restarts == sum("CUDA error" in str(fault()) or "cuDNN" in str(fault()) for fault, _ in plan)
    assert_sound(url)
