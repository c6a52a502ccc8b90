"""What a database far away costs, what a large fleet costs, and how soon a worker trains. Ratios of one run each.

(a) a trial of twelve parameters and twenty epochs, ask to tell, over 40 ms / the same on local SQLite
(b) the same without the background channel, and with Optuna's own storage
(c) 64 workers, many trials: nothing lost, doubled or stuck; `ask` at the end; bytes a trial
(d) seconds from `lobtuna work` to the first epoch on a full-size cached data set
(c) and (d) take minutes and are part of `make soak`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import psycopg
import pytest
from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table

from storage.artifacts import upload_bytes
from storage.backends.registry import open_storage
from storage.claims import Batch, Claim
from storage.store import artifacts_of
from storage.worker.background import BackgroundStorage
from tests.machines import CONTEXT
from tests.servers import Postgres, TcpProxy

pytestmark = pytest.mark.timeout(7200)
ROUND_TRIP = 0.040  # seconds
EPOCH = 3.0  # seconds
EPOCHS, PARAMETERS, EARLIER = 20, 12, 30
WEIGHTS = bytes(300_000)  # a small network's checkpoint
PROCESSES, THREADS = 8, 8
TRIALS, TRAINING = 10_000, 6.0  # of the fleet; seconds that a simulated trial trains


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A PostgreSQL server for this module."""
    server = Postgres()
    yield server
    server.close()


def _sampler() -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(seed=1, n_startup_trials=10, multivariate=True, group=True)


def _pruner() -> optuna.pruners.BasePruner:
    return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=EPOCHS)


def _earlier(url: str) -> optuna.Study:
    """A study with finished trials, so that the sampler and the pruner have something to read."""
    study = optuna.create_study(study_name="s", storage=open_storage(url), direction="maximize", sampler=_sampler())
    for i in range(EARLIER):
        trial = study.ask()
        for p in range(PARAMETERS):
            trial.suggest_float(f"p{p}", 0, 1)
        for epoch in range(3):
            trial.report(i / EARLIER, epoch)
        study.tell(trial, i / EARLIER)
    return study


def _ours(url: str, background: bool) -> float:
    """Seconds of one trial as our worker runs it."""
    inner = open_storage(url)
    study_id = inner.get_study_id_from_name("s")
    storage = BackgroundStorage(inner.store, study_id, Claim("host:1"), background=background)
    study = optuna.Study("s", storage, sampler=_sampler(), pruner=_pruner())
    store = artifacts_of(study)
    storage.forget()
    started = time.perf_counter()
    trial = study.ask()
    for p in range(PARAMETERS):
        trial.suggest_float(f"p{p}", 0, 1)
    storage.put(Batch(user_attrs={"seed": 1, "worker": "host:1", "device": "cpu"}))
    for epoch in range(EPOCHS):
        time.sleep(EPOCH)
        storage.put(Batch(intermediate={epoch: 0.5}, user_attrs={"seconds": epoch}))
        assert not trial.should_prune()
        if epoch < EPOCHS - 1:
            storage.refresh()

    def finish() -> Batch:
        attributes = {f"a{i}": i for i in range(12)} | {"checkpoint": upload_bytes(store, WEIGHTS)}
        return Batch(user_attrs=attributes, state=TrialState.COMPLETE, values=[0.5])

    storage.put(finish)
    storage.end(Batch())
    return time.perf_counter() - started


def _plain(url: str) -> float:
    """Seconds of one trial as Optuna runs it."""
    study = optuna.load_study(study_name="s", storage=url, sampler=_sampler(), pruner=_pruner())
    store = artifacts_of(optuna.load_study(study_name="s", storage=open_storage(url)))
    started = time.perf_counter()
    trial = study.ask()
    for p in range(PARAMETERS):
        trial.suggest_float(f"p{p}", 0, 1)
    for epoch in range(EPOCHS):
        time.sleep(EPOCH)
        trial.report(0.5, epoch)
        assert not trial.should_prune()
    for i in range(12):
        trial.set_user_attr(f"a{i}", i)
    trial.set_user_attr("checkpoint", upload_bytes(store, WEIGHTS))
    study.tell(trial, 0.5)
    return time.perf_counter() - started


@pytest.mark.bench
def test_a_trial_over_a_long_line(server: Postgres, tmp_path: Path) -> None:
    """At 40 ms a trial takes at most 1.04 times its time on local SQLite."""
    local = f"sqlite:///{tmp_path / 'study.db'}"
    near = server.create_database()
    far = TcpProxy(server.port, delay=ROUND_TRIP / 2)
    distant = near.replace(f":{server.port}/", f":{far.port}/")
    for url in (local, near):
        _earlier(url)
    cases: dict[str, Callable[[], float]] = {
        "local SQLite": lambda: _ours(local, background=True),
        "40 ms, background": lambda: _ours(distant, background=True),
        "40 ms, waiting for each write": lambda: _ours(distant, background=False),
        "40 ms, Optuna's storage": lambda: _plain(distant.replace("postgresql://", "postgresql+psycopg://")),
    }
    with ThreadPoolExecutor(len(cases)) as pool:  # side by side: epochs are sleep, and all meet the same moments
        running = {name: pool.submit(case) for name, case in cases.items()}
        seconds = {name: future.result() for name, future in running.items()}
    table = Table(title=f"{PARAMETERS} parameters, {EPOCHS} epochs of {EPOCH:g} s, ask to tell")
    for column in ("storage", "seconds", "ratio", "waiting, s"):
        table.add_column(column, justify="right")
    for name, value in seconds.items():
        waiting = value - EPOCHS * EPOCH
        table.add_row(name, f"{value:.2f}", f"{value / seconds['local SQLite']:.3f}", f"{waiting:.2f}")
    Console().print(table)
    far.close()
    assert seconds["40 ms, background"] / seconds["local SQLite"] <= 1.04


def _many(url: str, queue, share: int) -> None:  # type: ignore[no-untyped-def]
    """Eight workers of one process, until the study has its trials; reports the time of each `ask`."""
    inner = open_storage(url, patience=300)
    study_id = inner.get_study_id_from_name("s")
    asks: list[tuple[int, float]] = []

    def work(number: int) -> None:
        claim = Claim(f"host{share}:{number}", grace=120)
        storage = BackgroundStorage(inner.store, study_id, claim, patience=300)
        study = optuna.Study("s", storage, sampler=optuna.samplers.RandomSampler(), pruner=_pruner())
        while True:
            started = time.perf_counter()
            if len(storage.get_all_trials(study_id, deepcopy=False)) >= TRIALS:
                return
            trial = study.ask()
            asks.append((trial.number, time.perf_counter() - started))
            x = trial.suggest_float("x", 0, 1)
            trial.suggest_categorical("c", ["a", "b"])
            for epoch in range(3):
                time.sleep(TRAINING / 3)
                storage.put(Batch(intermediate={epoch: x}, user_attrs={"seconds": epoch}))
                storage.refresh()
            storage.end(Batch(user_attrs={"worker": claim.worker}, state=TrialState.COMPLETE, values=[x]))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    queue.put(asks)


@pytest.mark.soak
def test_a_large_fleet(server: Postgres) -> None:
    """64 simulated workers: no trial lost, doubled or stuck; `ask` under 0.3 s at the end; growth per trial."""
    url = server.create_database()
    optuna.create_study(study_name="s", storage=open_storage(url), direction="maximize")

    def size() -> int:
        with psycopg.connect(url) as connection:
            (value,) = connection.execute("SELECT pg_database_size(current_database())").fetchone()  # type: ignore[misc]
            return int(value)

    empty, started = size(), time.perf_counter()
    queue = CONTEXT.Queue()
    processes = [CONTEXT.Process(target=_many, args=(url, queue, i)) for i in range(PROCESSES)]
    for process in processes:
        process.start()
    asks = [ask for _ in processes for ask in queue.get(timeout=7200)]
    for process in processes:
        process.join(60)
    seconds = time.perf_counter() - started
    study = optuna.load_study(study_name="s", storage=open_storage(url))
    trials = study.get_trials(deepcopy=False)
    numbers = [trial.number for trial in trials]
    assert numbers == list(range(len(numbers)))
    assert sorted(number for number, _ in asks) == numbers
    assert TRIALS <= len(trials) < TRIALS + PROCESSES * THREADS
    assert all(trial.state == TrialState.COMPLETE and len(trial.intermediate_values) == 3 for trial in trials)
    last = [took for number, took in asks if number >= len(trials) - len(trials) // 4]
    # One worker alone on the full study: what `ask` costs when the machine is not itself 64 workers and a server.
    inner = open_storage(url)
    storage = BackgroundStorage(inner.store, study._study_id, Claim("host:x"))
    mine = optuna.Study("s", storage, sampler=optuna.samplers.RandomSampler())
    storage.get_all_trials(study._study_id, deepcopy=False)
    alone = []
    for _ in range(20):
        storage.forget()
        before = time.perf_counter()
        mine.ask()
        alone.append(time.perf_counter() - before)
        storage.end(Batch(state=TrialState.FAIL))
    table = Table(title=f"{PROCESSES * THREADS} workers, {len(trials)} trials, {os.cpu_count()} cores for all of it")
    for column in ("figure", "value"):
        table.add_column(column)
    table.add_row("seconds a simulated trial trains", f"{TRAINING:g}")
    table.add_row("trials per second", f"{len(trials) / seconds:.1f}")
    table.add_row("ask, median of the last quarter, all 64 at once", f"{statistics.median(last):.3f} s")
    table.add_row("ask, median, one worker on the full study", f"{statistics.median(alone):.3f} s")
    table.add_row("database growth per trial", f"{(size() - empty) / len(trials):.0f} bytes")
    Console().print(table)
    assert statistics.median(alone) < 0.3


@pytest.mark.soak
def test_a_worker_trains_soon(tmp_path: Path) -> None:
    """A worker is up and training within 10 s on a full-size data set that is cached already."""
    from lobmodels.data import load_dataset
    from lobmodels.data.synthetic import write_dataset
    from search.study.create import create_study
    from tests.machines import small_study

    folder = Path(os.environ.get("LOBTUNA_BENCH_DATA", str(tmp_path / "full")))
    if not folder.exists():
        folder.mkdir()
        write_dataset(folder, train=10_721, valid=1_444, seed=0)
    load_dataset(folder)  # into the cache
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create_study(small_study(trials=1, epochs=1), url)
    started = time.perf_counter()
    code = "from search.cli import main; main()"
    command = [sys.executable, "-c", code, "work", "small", "--data", str(folder), "--storage", url]
    worker = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    study = optuna.load_study(study_name="small", storage=open_storage(url))
    while not any("configuration" in trial.user_attrs for trial in study.get_trials(deepcopy=False)):
        assert worker.poll() is None, worker.stderr and worker.stderr.read()
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    worker.kill()
    Console().print(f"lobtuna work to the first batch, full-size cached data: {seconds:.1f} s")
    assert seconds <= 10
