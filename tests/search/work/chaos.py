"""A fleet under attack: what is done to it, by a seeded plan, and the audit of what must hold afterwards."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lobmodels.config import RunConfig
from lobmodels.data import load_dataset
from lobmodels.training.batches import RunData
from lobmodels.training.run import TrainingRun
from search.study.retention import collect
from search.study.revise import revise
from storage.artifacts import download
from storage.backends.registry import open_storage
from storage.store import artifacts_of
from tests.machines import Worker, assert_sound, create, small_study, trials
from tests.servers import Postgres, TcpProxy

GRACE, EPOCHS = 3.0, 4
FOREIGN = "somebody-elses"  # a plain Optuna study in the same database


class Attack:
    """Workers behind a proxy before a real server, and the faults that are injected. `counts` says how many of each."""

    def __init__(self, server: Postgres, data: Path, folder: Path, workers: int, seed: int) -> None:
        self.server, self.data, self.folder = server, data, folder
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.direct = server.create_database()
        self.proxy = TcpProxy(server.port)
        self.url = self.direct.replace(f":{server.port}/", f":{self.proxy.port}/")
        create(self.direct, self._spec(100_000))
        self.foreign = self._foreign_study()
        self.workers = [self._worker() for _ in range(workers)]

    def run(self, seconds: float, pause: tuple[float, float]) -> None:
        """Inject faults for so long, between pauses, and end the study in good order."""
        for worker in self.workers:
            worker.wait_for(lambda event: event.kind == "start")
        end = time.monotonic() + seconds
        faults = [self.kill, self.suspend, self.restart, self.crash, self.close_proxy, self.cut, self.cut]
        while time.monotonic() < end:
            self._require_alive()
            fault = self.random.choice(faults)
            fault()
            self.counts[fault.__name__] += 1
            time.sleep(self.random.uniform(*pause))
        self._finish()

    def _require_alive(self) -> None:
        """No worker ends by itself, whatever has been done to it: what one said is the failure."""
        ended = [worker for worker in self.workers if not worker.process.is_alive()]
        said = [(worker.process.exitcode, worker.error, worker.events[-3:]) for worker in ended]
        assert not ended, f"ended by themselves after {dict(self.counts)}: {said}"

    # Faults

    def kill(self) -> None:
        """kill -9 of one worker; another takes its place."""
        index = self.random.randrange(len(self.workers))
        self.workers[index].kill()
        self.workers[index] = self._worker()

    def suspend(self) -> None:
        """SIGSTOP of one worker for longer than its grace, as a laptop's lid does."""
        pid = self.random.choice(self.workers).process.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        time.sleep(1.5 * GRACE)
        os.kill(pid, signal.SIGCONT)

    def restart(self) -> None:
        """The server is shut down and started again."""
        self.server.stop("fast")
        time.sleep(self.random.uniform(0.0, 2.0))
        self.server.start()

    def crash(self) -> None:
        """The server crashes and recovers."""
        self.server.stop("immediate")
        self.server.start()

    def close_proxy(self) -> None:
        """The way to the server is closed, perhaps for longer than the workers' patience."""
        self.proxy.accepting = False
        self.proxy.cut()
        time.sleep(self.random.uniform(0.5, 4.0))
        self.proxy.accepting = True

    def cut(self) -> None:
        """Every connection is reset, in whatever it is doing."""
        self.proxy.cut()

    # Beginning and end

    def _spec(self, budget: int) -> Any:
        return small_study(trials=budget, epochs=EPOCHS, max_retries=1000, checkpoints={"keep": 100_000})

    def _worker(self) -> Worker:
        return Worker(self.url, "small", self.data, self.folder, grace=GRACE, patience=2.0)

    def _foreign_study(self) -> list[FrozenTrial]:
        study = optuna.create_study(study_name=FOREIGN, storage=open_storage(self.direct))
        study.ask()
        study.enqueue_trial({"x": 1.0})
        return study.get_trials()

    def _finish(self) -> None:
        """Lower the budget to the trials that are there, and wait for the workers to end them."""
        present = len(trials(self.direct))
        revise(self._spec(present), self.direct)
        codes = [worker.join(240) for worker in self.workers]
        assert codes == [0] * len(codes), [worker.error for worker in self.workers]
        self.proxy.close()

    # Audit

    def audit(self) -> dict[str, int]:
        """Check every promise; returns how many trials, artifacts and faults there were."""
        assert_sound(self.direct)
        done = trials(self.direct)
        assert {trial.state for trial in done} == {TrialState.COMPLETE}, Counter(t.state.name for t in done)
        wrong = [trial.number for trial in done if trial.value != trained_alone(self.data, trial)]
        assert not wrong, f"other values than the same seed trained alone: {wrong}"
        study = optuna.load_study(study_name=FOREIGN, storage=open_storage(self.direct))
        assert study.get_trials() == self.foreign
        assert not list(self.folder.glob("*.run")), "a finished run is on disk alone"
        return {"trials": len(done), "artifacts": self._artifacts(done), "faults": self.counts.total()}

    def _artifacts(self, done: list[FrozenTrial]) -> int:
        """Each artifact is named by exactly one trial, and each named one is there; what crashes left, gc removes."""
        storage = open_storage(self.direct)
        store = artifacts_of(optuna.load_study(study_name="small", storage=storage))
        collect(storage, store, age=0.0)
        stored = Counter(entry.artifact_id for entry in store.entries())
        named = Counter(key.partition(":")[2] for t in done for key in t.system_attrs if key.startswith("artifacts:"))
        kept = {trial.user_attrs["checkpoint"] for trial in done}
        assert max(named.values()) == 1 and stored.keys() <= named.keys() and kept <= stored.keys()
        for artifact_id in stored:
            download(store, artifact_id)
        return len(stored)


def trained_alone(data: Path, trial: FrozenTrial) -> float:
    """The value of the trial's configuration and seed, trained in this process without any fault."""
    config = RunConfig.parse(trial.user_attrs["configuration"])
    prepared = PREPARED(data, config)
    run = TrainingRun(config, trial.user_attrs["seed"], prepared)
    while not run.finished:
        run.train_epoch()
    return run.history[run.best_epoch].mean


def _prepare() -> Callable[[Path, RunConfig], RunData]:
    known: dict[tuple[Any, ...], RunData] = {}

    def prepare(data: Path, config: RunConfig) -> RunData:
        key = (data, config.feature_groups(), config.normalizer)
        if key not in known:
            known[key] = RunData.prepare(load_dataset(data), config, "cpu", small_study().validation.report_fraction)
        return known[key]

    return prepare


PREPARED = _prepare()
