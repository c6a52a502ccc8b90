"""The faults of an attack: each is a method that injects it, now or for a while, and says whether it could."""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import optuna

from search.study.retention import collect
from storage.backends.registry import open_storage
from storage.errors import StorageError
from storage.store import artifacts_of
from tests.machines import Worker
from tests.search.work.s3_server import REFUSALS
from tests.search.work.surroundings import Surroundings
from tests.wallclock import Clock

GRACE, PATIENCE = 3.0, 2.0  # seconds, of every worker
JUMPS = (-86_400, -3600, -30, 30, 3600, 86_400)  # seconds

# How often each fault is chosen, as a share of their sum.
WEIGHTS = {
    "kill": 5,
    "terminate": 2,
    "suspend": 4,
    "cut": 4,
    "end_a_connection": 4,
    "jump": 4,
    "jump_server": 2,
    "close_line": 2,
    "restart": 2,
    "crash": 1,
    "kill_pooler": 2,
    "fill_working_folder": 1,
    "fill_database": 1,
    "gc": 2,
    "close_bucket": 4,
    "refuse_bucket": 5,
    "slow_bucket": 3,
    "lose_answers_of_bucket": 6,
}


class Faults:
    """`counts` has how many faults of each kind were injected into `workers` of `study` and what they depend on.

    `start(i)` starts a worker in place `i`. `leaving` were asked to end; `full` is until when the working folder was.
    """

    def __init__(
        self, around: Surroundings, study: str, clocks: list[Clock], seed: int, start: Callable[[int], Worker]
    ) -> None:
        self.around, self.study, self.clocks, self.start = around, study, clocks, start
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.workers: list[Worker] = []
        self.leaving: list[Worker] = []
        self.suspended: list[Worker] = []
        self.full = float("-inf")  # time.monotonic()
        self._repairs: list[tuple[float, str, Callable[[], None]]] = []  # when, of what, how
        absent = set() if clocks else {"jump"}
        absent |= set() if around.clock else {"jump_server"}
        absent |= set() if around.pooler else {"kill_pooler"}
        absent |= set() if around.bucket else {name for name in WEIGHTS if "bucket" in name}
        absent |= set() if around.kept.real else {"fill_working_folder"}
        absent |= set() if around.disk.real else {"fill_database"}
        self.weights = {name: weight for name, weight in WEIGHTS.items() if name not in absent}

    def inject(self) -> None:
        """One fault. Some are impossible at the moment, because what they break is broken: then another is chosen."""
        while True:
            name = self.random.choices(list(self.weights), list(self.weights.values()))[0]
            if getattr(self, name)():
                self.counts[name] += 1
                return

    def repair(self, now: float) -> None:
        """Repair what is due by `now`, a time.monotonic()."""
        due = [entry for entry in self._repairs if entry[0] <= now]
        self._repairs = [entry for entry in self._repairs if entry[0] > now]
        for _, _, repair in due:
            repair()

    def broken(self, what: str) -> bool:
        """Whether a part of the surroundings waits for its repair."""
        return any(part == what for _, part, _ in self._repairs)

    def _later(self, seconds: float, what: str, repair: Callable[[], None]) -> None:
        self._repairs.append((time.monotonic() + seconds, what, repair))

    # Faults of a worker: each returns whether it could be injected

    def kill(self) -> bool:
        """kill -9; another takes its place."""
        index = self.random.randrange(len(self.workers))
        self.workers[index].kill()
        self.workers[index] = self.start(index)
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
        self.workers[index] = self.start(index)
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

    def jump_server(self) -> bool:
        """The clock of the database's server is set forward or back: the one that beats are measured with."""
        assert self.around.clock is not None
        self.around.clock.jump(self.random.choice(JUMPS))
        return True

    def cut(self) -> bool:
        """Every connection is reset, in whatever it is doing."""
        self.around.proxy.cut()
        return True

    def end_a_connection(self) -> bool:
        """The server ends one connection, in whatever it is doing."""
        if self.broken("server"):
            return False
        self.around.server.end_a_connection(self.around.database)
        return True

    def close_line(self) -> bool:
        """The way to the server is closed, perhaps for longer than the workers' patience."""
        return self._close_line(self.random.uniform(0.5, 2.5 * PATIENCE))

    def _close_line(self, seconds: float) -> bool:
        if self.broken("line"):
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
        if self.broken("server"):
            return False
        self.around.server.stop(mode)
        self._later(seconds, "server", self.around.server.start)
        return True

    def kill_pooler(self) -> bool:
        """kill -9 of the pooler, which is started again."""
        pooler = self.around.pooler
        if self.broken("pooler") or pooler is None:
            return False
        pooler.kill()
        self._later(self.random.uniform(0.0, 2.0), "pooler", pooler.start)
        return True

    def fill_working_folder(self) -> bool:
        """No file can be written where workers keep finished runs, while the database is away, too."""
        if self.broken("folder") or not self._close_line(2.5 * PATIENCE):
            return False
        self.around.kept.fill()
        self.full = float("inf")
        self._later(3.5 * PATIENCE, "folder", self._free_folder)
        return True

    def _free_folder(self) -> None:
        self.around.kept.free()
        self.full = time.monotonic()

    def fill_database(self) -> bool:
        """The disk of the database is full: writes fail, and the server may stop."""
        if self.broken("server"):
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

    def gc(self) -> bool:
        """A user removes what no trial needs, while clocks are wrong and workers are storing artifacts."""
        if self.broken("server") or self.suspended:  # a suspended worker may hold a lock that this would wait for
            return False
        with contextlib.suppress(StorageError):  # the disk may be full
            storage = open_storage(self.around.direct, patience=2.0)
            collect(storage, artifacts_of(optuna.load_study(study_name=self.study, storage=storage)))
        return True

    # Faults of the bucket, where artifacts are in one

    def close_bucket(self) -> bool:
        """The way to the bucket is closed, and what is on it is lost."""
        bucket = self.around.bucket
        if bucket is None or self.broken("bucket"):
            return False
        bucket.line.accepting = False
        bucket.line.cut()
        seconds = self.random.uniform(0.5, 2.5 * PATIENCE)
        self._later(seconds, "bucket", lambda: setattr(bucket.line, "accepting", True))
        return True

    def refuse_bucket(self) -> bool:
        """The bucket refuses every request: overloaded, broken, or without the right to it."""
        bucket = self.around.bucket
        if bucket is None or self.broken("bucket"):
            return False
        bucket.faulty.refusal = self.random.choice(REFUSALS)
        seconds = self.random.uniform(0.5, 2.5 * PATIENCE)
        self._later(seconds, "bucket", lambda: setattr(bucket.faulty, "refusal", None))
        return True

    def slow_bucket(self) -> bool:
        """Every answer of the bucket takes its time."""
        bucket = self.around.bucket
        if bucket is None or self.broken("bucket"):
            return False
        bucket.faulty.delay = self.random.uniform(0.2, PATIENCE)
        self._later(2.0 * PATIENCE, "bucket", lambda: setattr(bucket.faulty, "delay", 0.0))
        return True

    def lose_answers_of_bucket(self) -> bool:
        """Some requests are carried out, but their answers never come."""
        bucket = self.around.bucket
        if bucket is None or self.broken("bucket"):
            return False
        bucket.faulty.lost = self.random.randint(1, 5)
        return True
