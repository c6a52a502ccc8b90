"""What one trial computes on the device, in turns with the worker's other trials and under its watchdog."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.training.batches import RunData
from lobmodels.training.epochs import EpochRecord
from lobmodels.training.run import TrainingRun
from lobmodels.training.throughput import at_once, best_of, described
from lobmodels.training.turns import Job, one_step
from search.work.context import WorkerContext
from search.work.lane import Lane
from search.work.resume import ResumeState
from search.work.task import Task
from search.work.watchdog import Watchdog

T = TypeVar("T")


class DeviceWork:
    """Each method hands a job to the worker's `Turns` and waits for its result.

    All raise what the job raises, `DeviceMemoryError` where memory is too small, and `JobDropped` where another run has
    lost the device.
    """

    def __init__(self, context: WorkerContext, lane: Lane, watchdog: Watchdog, note: Callable[[str], None]) -> None:
        self.context, self.lane, self.watchdog, self.note = context, lane, watchdog, note
        self.lasted = 0.0  # seconds of the last epoch by the clock: other runs had their turns in it

    def call(self, function: Callable[[], T]) -> T:
        """The result of `function`, computed as one step."""
        return self._do(one_step(function))

    def build(self, task: Task) -> TrainingRun:
        """The run at its beginning, with its data prepared. The first one of a worker that is to find out how many runs
        at once are fastest measures that."""
        return self._do(self._built(task))

    def epoch(self, run: TrainingRun, resume: ResumeState) -> EpochRecord | None:
        """Train one epoch and take the state after it; None where a stop at once came first."""
        begun = time.monotonic()
        record = self._do(self._epoch(run, resume))
        self.lasted = time.monotonic() - begun
        self.watchdog.epoch_ended(self.lasted)
        return record

    def finish(self, run: TrainingRun, name: str) -> Checkpoint:
        """The checkpoint of a run that is over. Only what the device computes of it is done in turns."""
        return self._do(run.finish()).checkpoint(name)

    def _do(self, job: Job[T]) -> T:
        return self.context.turns.do(job, self.lane.on_stream, self.watchdog.watch)

    def _built(self, task: Task) -> Job[TrainingRun]:
        data = self.context.data_for(task.config, task.rule)
        yield
        if self.context.undecided:
            yield from self._decide(task.config, data)
        return TrainingRun(task.config, task.seed, data, task.plan(self.context.dataset))

    def _decide(self, config: RunConfig, data: RunData) -> Job[None]:
        seconds = yield from at_once(config, data, self.context.room.most)
        self.context.undecided = False
        self.context.room.allow(best_of(seconds))
        self.note(described(seconds))

    def _epoch(self, run: TrainingRun, resume: ResumeState) -> Job[EpochRecord | None]:
        for _ in run.steps():
            if self.context.stop.at_once:
                return None
            yield
        resume.take(run)
        return run.history[-1]
