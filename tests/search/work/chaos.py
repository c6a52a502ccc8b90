"""A fleet under attack: real workers, and faults of every kind injected into them and into what they depend on."""

import contextlib
import sys
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from search.study.create import create_study
from search.study.revise import revise
from search.work.exits import Exit
from storage.backends.registry import open_store
from storage.errors import StorageError
from storage.tables import claims
from tests.machines import Worker, small_study, trials
from tests.search.work.injection import GRACE, PATIENCE, Faults
from tests.search.work.planner import plan_replicates, replicates
from tests.search.work.s3_server import use
from tests.search.work.surroundings import Surroundings
from tests.wallclock import Clock, follow

EPOCHS = 4
REPORT_EVERY = 60.0  # seconds between two lines about a long run
PLAN_EVERY = 5.0  # seconds between two looks whether replicates may be queued
NOWHERE = "finished, but neither the database nor"  # says a worker that can store its finished run in no place
NOTICED = 10.0  # seconds within which a worker's end is looked at: a restart of the server may come between


def spec(budget: int) -> Any:
    """The study: runs of a moment, drawn at random, none of them given up or dropped."""
    terms: dict[str, Any] = {"sampler": {"name": "random"}, "checkpoints": {"keep": 100_000}}
    return small_study(trials=budget, epochs=EPOCHS, max_retries=1000, **terms)


def prepare(clock: Path | None, bucket: dict[str, str] | None, epoch: float) -> None:
    """In a worker's process: follow a wall clock of its own, reach the bucket, and let an epoch last, so that faults
    fall into runs."""
    from lobmodels.training.run import TrainingRun

    if clock is not None:
        follow(clock)
    if bucket is not None:
        use(bucket)
    steps = TrainingRun.steps

    def slow(self: TrainingRun) -> Any:
        time.sleep(epoch)
        return steps(self)

    TrainingRun.steps = slow  # type: ignore[method-assign]


@dataclass(frozen=True)
class Fleet:
    """So many workers, each with so many runs at once on its device; an epoch lasts so many seconds longer."""

    workers: int
    epoch: float
    runs: int = 1
    device: str = "cpu"


class Attack:
    """`faults` has what was injected, `ended` how workers ended that nobody had killed."""

    def __init__(
        self, around: Surroundings, data: Path, folder: Path, fleet: Fleet, *, seed: int, clocks: bool
    ) -> None:
        self.around, self.data, self.folder, self.fleet = around, data, folder, fleet
        self.ended: Counter[str] = Counter()
        self.plans = 0  # plans of replicates that were stored
        self.everybody: list[Worker] = []
        create_study(spec(1_000_000), around.direct, artifacts=around.bucket.url if around.bucket else None)
        self.clocks = [Clock(folder / f"clock-{i}") for i in range(fleet.workers)] if clocks else []
        self.faults = Faults(around, "small", self.clocks, seed, self._worker)
        self.workers, self.leaving = self.faults.workers, self.faults.leaving
        self.workers += [self._worker(i) for i in range(fleet.workers)]

    def close(self) -> None:
        """End every worker."""
        for worker in self.everybody:
            worker.kill()

    def run(self, seconds: float, pause: tuple[float, float]) -> None:
        """Inject faults for so long, one after each pause, and end the study in good order."""
        for worker in self.workers:
            worker.wait_for(lambda event: event.kind == "start")
        begun = time.monotonic()
        due, report, plan = begun, begun + REPORT_EVERY, begun + PLAN_EVERY
        while (now := time.monotonic()) < begun + seconds:
            self.faults.repair(now)
            self._replace_ended()
            if now >= due:
                self.faults.inject()
                due = time.monotonic() + self.faults.random.uniform(*pause)
            if now >= plan:
                plan = time.monotonic() + PLAN_EVERY
                self._plan()
            if now >= report:
                report += REPORT_EVERY
                self._report(now - begun)
            time.sleep(0.05)
        self._finish()

    def _plan(self) -> None:
        """A user queues replicates, and a plan for more, where the database can be reached."""
        with contextlib.suppress(StorageError):
            blocked = self.faults.broken("server") or self.faults.suspended  # one may hold the study's lock
            if not blocked and plan_replicates(self.around.direct, "small"):
                self.plans += 1

    # Workers

    def _worker(self, index: int) -> Worker:
        clock = self.clocks[index].path if self.clocks else None
        bucket = None if self.around.bucket is None else self.around.bucket.environment
        hook = partial(prepare, clock, bucket, self.fleet.epoch)
        options: dict[str, Any] = {"grace": GRACE, "patience": PATIENCE, "keep_folder": self.around.kept.folder}
        options |= {"device": self.fleet.device, "runs_per_device": self.fleet.runs}
        worker = Worker(self.around.url, "small", self.data, self.folder, hook=hook, **options)
        self.everybody.append(worker)
        return worker

    def _replace_ended(self) -> None:
        for index, worker in enumerate(self.workers):
            if not worker.process.is_alive():
                self._judge(worker, asked=False)
                self.workers[index] = self._worker(index)
        self._judge_leaving()

    def _judge_leaving(self) -> None:
        for worker in [worker for worker in self.leaving if not worker.process.is_alive()]:
            self._judge(worker, asked=True)
            self.leaving.remove(worker)

    def _judge(self, worker: Worker, asked: bool) -> None:
        """Count how a worker ended. By itself it may only end at its start, where the database is away: exit 69.

        It may leave a finished run in memory alone only when asked, and while the working folder is full.
        """
        code = worker.process.exitcode
        began = any(event.kind == "ready" for event in worker.events)
        expected = code in (Exit.DONE, Exit.LATER) if asked else code == Exit.LATER and not began
        words = "when asked" if asked else "during work" if began else "at its start"
        self.ended[f"exit {code} {words}"] += 1
        if NOWHERE in worker.error:
            expected = expected and asked and time.monotonic() - self.faults.full < NOTICED
            self.ended["finished run lost: database away, folder full"] += 1
        said = f"exit {code} {words}: {worker.error}\n{worker.said}\n{worker.events[-5:]}"
        assert expected, f"after {dict(self.faults.counts)}: {worker.log}: {said}"

    def _report(self, passed: float) -> None:
        line = f"{passed:5.0f} s: {self.faults.counts.total()} faults, ends {dict(self.ended)}"
        print(line, file=sys.__stderr__, flush=True)

    def _finish(self) -> None:
        """Repair everything, lower the budget to the trials that are there, and wait for the workers to end them."""
        self.faults.repair(float("inf"))
        revise(spec(len(trials(self.around.direct))), self.around.direct)
        end = time.monotonic() + 500
        while any(worker.process.is_alive() for worker in (*self.workers, *self.leaving)):
            assert time.monotonic() < end, [worker.events[-3:] for worker in self.workers]
            self._judge_leaving()
            time.sleep(0.1)
        if self._unfinished():  # a killed worker's trial, queued again when the budget was spent, or even exceeded
            revise(spec(len(trials(self.around.direct))), self.around.direct)
            self.workers[:] = [self._worker(0)]
            assert self.workers[0].join(500) == Exit.DONE, self.workers[0].error
        assert not self._unfinished(), (self._unfinished(), claimed(self.around.direct), self.workers[0].events)
        self._judge_leaving()
        for worker in self.workers:
            if worker.process.exitcode != Exit.DONE:  # one may have begun when the database was still away
                self._judge(worker, asked=False)

    def _unfinished(self) -> list[Any]:
        everything = trials(self.around.direct) + replicates(self.around.direct, "small")
        return [trial for trial in everything if not trial.state.is_finished()]


def claimed(url: str) -> list[Any]:
    """The claims in the database, and its clock: what to look at where a trial is left running."""
    store = open_store(url)
    assert store.engine is not None
    with store.engine.begin() as connection:
        return [*connection.execute(sa.select(claims)).all(), store.fleet.now()]
