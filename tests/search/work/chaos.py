"""A fleet under attack: real workers, and faults of every kind injected into them and into what they depend on."""

import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from search.study.revise import revise
from search.work.exits import Exit
from tests.machines import Worker, create, small_study, trials
from tests.search.work.surroundings import Surroundings
from tests.wallclock import Clock, follow

GRACE, PATIENCE, EPOCHS = 3.0, 2.0, 4
REPORT_EVERY = 60.0  # seconds between two lines about a long run
JUMPS = (-86_400, -3600, -30, 30, 3600, 86_400)  # seconds

# How often each fault is chosen, as a share of their sum.
WEIGHTS = {
    "kill": 5,
    "terminate": 2,
    "suspend": 4,
    "cut": 4,
    "end_a_connection": 4,
    "jump": 4,
    "close_line": 2,
    "restart": 2,
    "crash": 1,
    "kill_pooler": 2,
    "fill_working_folder": 1,
    "fill_database": 1,
}


def spec(budget: int) -> Any:
    """The study: runs of a moment, drawn at random, none of them given up or dropped."""
    terms: dict[str, Any] = {"sampler": {"name": "random"}, "checkpoints": {"keep": 100_000}}
    return small_study(trials=budget, epochs=EPOCHS, max_retries=1000, **terms)


def prepare(clock: Path | None, epoch: float) -> None:
    """In a worker's process: follow a wall clock of its own, and let an epoch last, so that faults fall into runs."""
    from lobmodels.training.run import TrainingRun

    if clock is not None:
        follow(clock)
    steps = TrainingRun.steps

    def slow(self: TrainingRun) -> Any:
        time.sleep(epoch)
        return steps(self)

    TrainingRun.steps = slow  # type: ignore[method-assign]


class Attack:
    """`counts` has how many faults of each kind were injected, `ended` how workers ended that nobody had killed."""

    def __init__(
        self, around: Surroundings, data: Path, folder: Path, *, workers: int, seed: int, epoch: float, clocks: bool
    ) -> None:
        self.around, self.data, self.folder, self.epoch = around, data, folder, epoch
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        create(around.direct, spec(1_000_000))
        self.clocks = [Clock(folder / f"clock-{i}") for i in range(workers)] if clocks else []
        self.everybody: list[Worker] = []
        self.workers = [self._worker(i) for i in range(workers)]
        self.leaving: list[Worker] = []  # were asked to end
        self.suspended: list[Worker] = []
        self._repairs: list[tuple[float, str, Callable[[], None]]] = []  # when, of what, how
        absent = {"jump"} if not clocks else set()
        absent |= {"kill_pooler"} if around.pooler is None else set()
        absent |= set() if around.kept.real else {"fill_working_folder"}
        absent |= set() if around.disk.real else {"fill_database"}
        self.weights = {name: weight for name, weight in WEIGHTS.items() if name not in absent}

    def close(self) -> None:
        """End every worker."""
        for worker in self.everybody:
            worker.kill()

    def run(self, seconds: float, pause: tuple[float, float]) -> None:
        """Inject faults for so long, one after each pause, and end the study in good order."""
        for worker in self.workers:
            worker.wait_for(lambda event: event.kind == "start")
        begun = time.monotonic()
        due, report = begun, begun + REPORT_EVERY
        while (now := time.monotonic()) < begun + seconds:
            self._repair(now)
            self._replace_ended()
            if now >= due:
                self._inject()
                due = time.monotonic() + self.random.uniform(*pause)
            if now >= report:
                report += REPORT_EVERY
                self._report(now - begun)
            time.sleep(0.05)
        self._finish()

    def _inject(self) -> None:
        """One fault. Some are impossible at the moment, because what they break is broken: then another is chosen."""
        while True:
            name = self.random.choices(list(self.weights), list(self.weights.values()))[0]
            if getattr(self, name)():
                self.counts[name] += 1
                return

    # Faults of a worker: each returns whether it could be injected

    def kill(self) -> bool:
        """kill -9; another takes its place."""
        index = self.random.randrange(len(self.workers))
        self.workers[index].kill()
        self.workers[index] = self._worker(index)
        return True

    def terminate(self) -> bool:
        """SIGTERM: it hands its trial back; another takes its place."""
        running = [i for i, worker in enumerate(self.workers) if worker not in self.suspended]
        index = self.random.choice(running)
        worker = self.workers[index]
        if not any(event.kind == "ready" for event in worker.events):
            return False
        worker.terminate()
        self.leaving.append(worker)
        self.workers[index] = self._worker(index)
        return True

    def suspend(self) -> bool:
        """SIGSTOP for longer than its grace, as closing a laptop does."""
        running = [worker for worker in self.workers if worker not in self.suspended]
        if len(running) <= len(self.workers) // 2:
            return False
        worker = self.random.choice(running)
        assert worker.process.pid is not None
        os.kill(worker.process.pid, signal.SIGSTOP)
        self.suspended.append(worker)
        self._later(self.random.uniform(1.2, 2.5) * GRACE, "", partial(self._resume, worker))
        return True

    def _resume(self, worker: Worker) -> None:
        self.suspended.remove(worker)
        assert worker.process.pid is not None
        with contextlib.suppress(ProcessLookupError):  # killed while it was stopped
            os.kill(worker.process.pid, signal.SIGCONT)

    def jump(self) -> bool:
        """The wall clock of one worker's machine is set forward or back."""
        self.random.choice(self.clocks).jump(self.random.choice(JUMPS))
        return True

    # Faults of what they depend on

    def cut(self) -> bool:
        """Every connection is reset, in whatever it is doing."""
        self.around.proxy.cut()
        return True

    def end_a_connection(self) -> bool:
        """The server ends one connection, in whatever it is doing."""
        if self._broken("server"):
            return False
        self.around.server.end_a_connection(self.around.database)
        return True

    def close_line(self) -> bool:
        """The way to the server is closed, perhaps for longer than the workers' patience."""
        return self._close_line(self.random.uniform(0.5, 2.5 * PATIENCE))

    def _close_line(self, seconds: float) -> bool:
        if self._broken("line"):
            return False
        self.around.proxy.accepting = False
        self.around.proxy.cut()
        self._later(seconds, "line", lambda: setattr(self.around.proxy, "accepting", True))
        return True

    def restart(self) -> bool:
        """The server is shut down and started again."""
        return self._stop_server("fast", self.random.uniform(0.0, 3.0))

    def crash(self) -> bool:
        """The server crashes, and recovers from its log."""
        return self._stop_server("immediate", 0.0)

    def _stop_server(self, mode: str, seconds: float) -> bool:
        if self._broken("server"):
            return False
        self.around.server.stop(mode)
        self._later(seconds, "server", self.around.server.start)
        return True

    def kill_pooler(self) -> bool:
        """kill -9 of the pooler, which is started again."""
        pooler = self.around.pooler
        if self._broken("pooler") or pooler is None:
            return False
        pooler.kill()
        self._later(self.random.uniform(0.0, 2.0), "pooler", pooler.start)
        return True

    def fill_working_folder(self) -> bool:
        """No file can be written where workers keep finished runs, while the database is away, too."""
        if self._broken("folder") or not self._close_line(2.5 * PATIENCE):
            return False
        self.around.kept.fill()
        self._later(3.5 * PATIENCE, "folder", self.around.kept.free)
        return True

    def fill_database(self) -> bool:
        """The disk of the database is full: writes fail, and the server may stop."""
        if self._broken("server"):
            return False
        self.around.disk.fill()
        self._later(self.random.uniform(1.0, 2.0 * PATIENCE), "server", self._free_database)
        return True

    def _free_database(self) -> None:
        self.around.disk.free()
        end = time.monotonic() + 5.0
        while not self.around.server.answers():
            if time.monotonic() > end:  # it found no room for its log, and stopped
                self.around.server.start()
                self.counts["fill_database that stopped the server"] += 1
                return
            time.sleep(0.2)

    # Repairs and replacements

    def _broken(self, what: str) -> bool:
        return any(part == what for _, part, _ in self._repairs)

    def _later(self, seconds: float, what: str, repair: Callable[[], None]) -> None:
        self._repairs.append((time.monotonic() + seconds, what, repair))

    def _repair(self, now: float) -> None:
        due = [entry for entry in self._repairs if entry[0] <= now]
        self._repairs = [entry for entry in self._repairs if entry[0] > now]
        for _, _, repair in due:
            repair()

    def _worker(self, index: int) -> Worker:
        hook = partial(prepare, self.clocks[index].path if self.clocks else None, self.epoch)
        options: dict[str, Any] = {"grace": GRACE, "patience": PATIENCE, "keep_folder": self.around.kept.folder}
        worker = Worker(self.around.url, "small", self.data, self.folder, hook=hook, **options)
        self.everybody.append(worker)
        return worker

    def _replace_ended(self) -> None:
        for index, worker in enumerate(self.workers):
            if not worker.process.is_alive():
                self._judge(worker, asked=False)
                self.workers[index] = self._worker(index)
        for worker in [worker for worker in self.leaving if not worker.process.is_alive()]:
            self._judge(worker, asked=True)
            self.leaving.remove(worker)

    def _judge(self, worker: Worker, asked: bool) -> None:
        """Count how a worker ended. By itself it may only end at its start, where the database is away: exit 69."""
        code = worker.process.exitcode
        began = any(event.kind == "ready" for event in worker.events)
        expected = code in (Exit.DONE, Exit.LATER) if asked else code == Exit.LATER and not began
        words = "when asked" if asked else "during work" if began else "at its start"
        self.ended[f"exit {code} {words}"] += 1
        said = f"exit {code} {words}: {worker.error}\n{worker.said}\n{worker.events[-5:]}"
        assert expected, f"after {dict(self.counts)}: {worker.log}: {said}"

    def _report(self, passed: float) -> None:
        line = f"{passed:5.0f} s: {self.counts.total()} faults, ends {dict(self.ended)}"
        print(line, file=sys.__stderr__, flush=True)

    def _finish(self) -> None:
        """Repair everything, lower the budget to the trials that are there, and wait for the workers to end them."""
        self._repair(float("inf"))
        revise(spec(len(trials(self.around.direct))), self.around.direct)
        end = time.monotonic() + 500
        while any(worker.process.is_alive() for worker in (*self.workers, *self.leaving)):
            assert time.monotonic() < end, [worker.events[-3:] for worker in self.workers]
            time.sleep(0.1)
        if self._unfinished():  # a trial of a killed worker, queued again when the budget was spent, or exceeded
            revise(spec(len(trials(self.around.direct))), self.around.direct)
            self.workers = [self._worker(0)]
            assert self.workers[0].join(500) == Exit.DONE, self.workers[0].error
        assert not self._unfinished(), (self._unfinished(), self.workers[0].events)
        for worker in self.leaving:
            self._judge(worker, asked=True)
        for worker in self.workers:
            if worker.process.exitcode != Exit.DONE:  # one may have begun when the database was still away
                self._judge(worker, asked=False)

    def _unfinished(self) -> list[Any]:
        return [trial for trial in trials(self.around.direct) if not trial.state.is_finished()]
