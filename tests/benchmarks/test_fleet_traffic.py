"""What a fleet costs its database: bytes and statements an epoch, transactions of idle workers, the table of states."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from search.study.pruners import build_pruner, needs_news, wanted_reports
from search.study.record import CHECKPOINT, CONFIGURATION, DEVICE, HISTORY, KEY, SECONDS
from search.studyfile.spec import StudySpec
from search.work.resume import RATE
from search.work.session import NEEDED
from storage.artifacts import upload_bytes
from storage.artifacts.transfer import new_artifact_id
from storage.backends.grpc_server import make_server
from storage.backends.registry import open_store
from storage.claims import REASON, Batch, Claim
from storage.optuna_internals import study_id_of, trial_id_of
from storage.store import Store
from storage.worker.background import LOOK_EVERY, BackgroundStorage
from tests.machines import Worker, create, small_study
from tests.pace import slow_epochs
from tests.servers import Postgres, TcpProxy

WORKERS, PARAMETERS, EPOCHS = 64, 12, 60
BEGUN = 10  # epochs of a running trial: halving reads those up to its last rung, 16, and the last one

pytestmark = [pytest.mark.bench, pytest.mark.timeout(0)]


class _Meter(TcpProxy):
    """A proxy that counts the bytes that pass."""

    passed = 0

    def _pass_on(self, received: bytes, sink: Any) -> bool:
        type(self).passed += len(received)
        return super()._pass_on(received, sink)


RANGE = FloatDistribution(1e-5, 1e-1, log=True)


def _trial(study: optuna.Study, epochs: int, *, end: bool) -> None:
    names = [f"parameter_{i}" for i in range(PARAMETERS)]
    attributes: dict[str, Any] = {CONFIGURATION: {f"parameter_{i}": random.random() for i in range(30)}}
    attributes |= {SECONDS: 5.0123456789 * epochs, KEY: random.randbytes(6).hex(), DEVICE: "NVIDIA H100 80GB HBM3"}
    if end:
        attributes |= {CHECKPOINT: new_artifact_id(random.randbytes(8)), REASON: "all epochs"}
        attributes[HISTORY] = [{f"column_{c}": random.random() for c in range(9)} for _ in range(epochs)]
    study.add_trial(
        create_trial(
            state=TrialState.COMPLETE if end else TrialState.RUNNING,
            value=random.random() if end else None,
            params={name: random.uniform(1e-5, 1e-1) for name in names},
            distributions=dict.fromkeys(names, RANGE),
            intermediate_values={epoch: random.random() for epoch in range(epochs)},
            user_attrs=attributes,
        )
    )


PRUNERS = ("median", "halving", "curve")


def _spec(pruner: str) -> StudySpec:
    return small_study(epochs=EPOCHS, pruner={"name": pruner})


def _looks(pruner: str) -> float:
    """How often in an hour a worker with 5 s epochs reads the others' trials for this pruner."""
    spec = _spec(pruner)
    judged = [e for e in range(spec.pruner.warmup_epochs + 1, EPOCHS) if needs_news(build_pruner(spec), e, False)]
    return len(judged) * 3600 / (5 * EPOCHS) or 3600 / LOOK_EVERY


@pytest.mark.parametrize("pruner", PRUNERS)
def test_bytes_of_one_look(pruner: str, postgres_server: Postgres) -> None:
    """One look of a pruner and one ask while 64 trials run, by Optuna's cache and by the brief reading."""
    wanted = wanted_reports(_spec(pruner))
    url = postgres_server.create_database()
    store = open_store(url)
    study = optuna.create_study(storage=store.storage, direction="maximize", sampler=optuna.samplers.RandomSampler(1))
    for _ in range(20):
        _trial(study, EPOCHS, end=True)
    for _ in range(WORKERS):
        _trial(study, BEGUN, end=False)
    meter = _Meter(postgres_server.port)
    mine = open_store(url.replace(f":{postgres_server.port}/", f":{meter.port}/"))
    study_id = study_id_of(study)
    worker = BackgroundStorage(mine, study_id, Claim("host:1"), attributes=NEEDED, wanted=wanted)
    sizes: dict[str, int] = {}

    def measure(name: str, call: Any) -> None:
        time.sleep(0.2)
        before = _Meter.passed
        call()
        time.sleep(0.2)
        sizes[name] = _Meter.passed - before

    measure("first read, Optuna's cache", lambda: mine.storage.get_all_trials(study_id, deepcopy=False))
    measure("a look, Optuna's cache", lambda: mine.storage.get_all_trials(study_id, deepcopy=False))
    measure("first read, brief", worker.others.read)
    measure("an ask, brief", worker.others.read)
    measure("a look, brief", lambda: worker.others.read(running=False))
    for count in (1, 8):
        for _ in range(count):
            _trial(study, EPOCHS, end=True)
        measure(f"a look with {count} more finished, brief", lambda: worker.others.read(running=False))
    for name, epochs in (("6 more reports of each", (10, 16)), ("reports past the last rung", (16, 30))):
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            for epoch in range(*epochs):
                store.storage.set_trial_intermediate_value(trial_id_of(trial), epoch, random.random())
        measure(f"a look with {name}, brief", lambda: worker.others.read(running=False))
    for name, size in sizes.items():
        print(f"{pruner} {name:>45}: {size / 1024:8.1f} KiB")
    ended = WORKERS * 3600 / (5 * EPOCHS)  # trials of all workers in an hour
    each = (sizes["a look with 8 more finished, brief"] - sizes["a look with 1 more finished, brief"]) / 7
    statement = sizes["a look with 1 more finished, brief"] - each
    report = max(0.0, sizes["a look with 6 more reports of each, brief"] - statement) / (6 * WORKERS)
    look = max(statement, sizes["a look with reports past the last rung, brief"])
    hour = (
        WORKERS * (_looks(pruner) * look + ended * each + ended * min(EPOCHS, wanted.running) * report)
        + ended * sizes["an ask, brief"]
    )
    before = WORKERS * 720 * sizes["a look, Optuna's cache"]
    print(
        f"{pruner}: {WORKERS} workers, {EPOCHS} epochs of 5 s: {hour / 1e6:.0f} MB an hour, {before / 1e6:.0f} before"
    )


def _read_by_this_process() -> int:
    """Bytes that this process has read from files and sockets so far."""
    return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])


@contextmanager
def _elsewhere(kind: str, server: Postgres, folder: Path) -> Iterator[tuple[Store, Store, Callable[[], int]]]:
    """A storage that is not read with SQL: opened for the other workers, opened for one worker, that one's bytes."""
    if kind == "journal":
        url = f"journal://{folder / 'study.log'}"
        yield open_store(url), open_store(url), _read_by_this_process
        return
    behind = open_store(server.create_database())
    proxy, port = make_server(behind, "127.0.0.1", 0)
    proxy.start()
    meter = _Meter(port)
    try:
        yield behind, open_store(f"grpc://127.0.0.1:{meter.port}"), lambda: _Meter.passed
    finally:
        proxy.stop(None)
        meter.close()


@pytest.mark.parametrize(("kind", "pruner"), [("grpc", "median"), ("grpc", "halving"), ("journal", "median")])
def test_bytes_of_one_look_without_sql(kind: str, pruner: str, postgres_server: Postgres, tmp_path: Path) -> None:
    """A look while 64 trials run, through `lobtuna proxy` and from a journal (what was appended since), and what that
    makes in an hour of 64 workers with 60 epochs of 5 s."""
    with _elsewhere(kind, postgres_server, tmp_path) as (theirs, mine, passed):
        sampler = optuna.samplers.RandomSampler(1)
        study = optuna.create_study(storage=theirs.storage, direction="maximize", sampler=sampler)
        for _ in range(20):
            _trial(study, EPOCHS, end=True)
        for _ in range(WORKERS):
            _trial(study, BEGUN, end=False)
        study_id = mine.storage.get_study_id_from_name(study.study_name)
        wanted = wanted_reports(_spec(pruner))
        worker = BackgroundStorage(mine, study_id, Claim("host:1"), attributes=NEEDED, wanted=wanted)
        sizes: dict[str, int] = {}

        def measure(name: str) -> None:
            time.sleep(0.2)
            before = passed()
            worker.others.read(running=False)
            time.sleep(0.2)
            sizes[name] = passed() - before

        worker.others.read()
        measure("a look")
        _trial(study, EPOCHS, end=True)
        measure("a look with 1 more finished")
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            theirs.storage.set_trial_intermediate_value(trial_id_of(trial), BEGUN, random.random())
        measure("a look with 1 more report of each")
        before = passed()
        worker.others.read()
        sizes["an ask"] = passed() - before
    for name, size in sizes.items():
        print(f"{kind} {pruner} {name:>35}: {size / 1024:8.1f} KiB")
    looks, ended = _looks(pruner), WORKERS * 3600 / (5 * EPOCHS)  # of one worker, of all workers
    finished = sizes["a look with 1 more finished"] - sizes["a look"]
    report = max(0, sizes["a look with 1 more report of each"] - sizes["a look"]) / WORKERS
    reports = EPOCHS if kind == "journal" else min(EPOCHS, wanted.running)  # that are read of each trial
    each = looks * sizes["a look"] + ended * finished + ended * reports * report
    each += ended / WORKERS * sizes["an ask"]
    print(f"{kind}, {pruner}: {WORKERS} workers, {EPOCHS} epochs of 5 s: {WORKERS * each / 1e6:.0f} MB an hour")


@pytest.mark.parametrize("pruner", PRUNERS)
def test_statements_of_an_epoch(pruner: str, postgres_server: Postgres) -> None:
    """A worker with 5 s epochs beside trials that run: statements an epoch, beats and looks included."""
    store = open_store(postgres_server.create_database())
    study = optuna.create_study(storage=store.storage, direction="maximize", sampler=optuna.samplers.RandomSampler(1))
    for _ in range(4):
        _trial(study, EPOCHS // 2, end=False)
    wanted, judge = wanted_reports(_spec(pruner)), build_pruner(_spec(pruner))
    worker = BackgroundStorage(store, study_id_of(study), Claim("host:1"), attributes=NEEDED, wanted=wanted)
    mine = optuna.Study(study.study_name, worker, sampler=optuna.samplers.RandomSampler(2))
    mine.ask()
    statements: list[str] = []
    assert store.engine is not None
    sa.event.listen(store.engine, "before_cursor_execute", lambda *event: statements.append(event[2]))
    epochs = 24
    for epoch in range(epochs):
        worker.put(Batch(intermediate={epoch: 0.1}, user_attrs={"seconds": 5.0 * epoch}))
        if needs_news(judge, epoch + 1, worker.refresh_due()):
            worker.refresh()
        time.sleep(5.0)
    print(f"{pruner}: {len(statements) / epochs:.2f} statements an epoch")
    worker.end(Batch(state=TrialState.COMPLETE, values=[0.1]))


def test_the_table_of_states_stays_small(postgres_server: Postgres) -> None:
    """Eight workers with states of 4 MB, each replaced as often as a worker may with --checkpoint-every 60: the most
    that the table takes beside its live bytes, in six minutes."""
    store = open_store(postgres_server.create_database())
    assert store.engine is not None
    workers, size = 8, 4_000_000
    live = [upload_bytes(store.artifacts, random.randbytes(size)) for _ in range(workers)]
    pause = max(60.0, size / RATE) / workers
    most, end = 0.0, time.monotonic() + 360.0
    while time.monotonic() < end:
        live.append(upload_bytes(store.artifacts, random.randbytes(size)))
        store.artifacts.remove(live.pop(0))
        time.sleep(pause)
        with store.engine.begin() as connection:
            query = sa.text("SELECT pg_total_relation_size('lobtuna_artifact_chunks')")
            most = max(most, float(connection.scalar(query) or 0.0))
    print(f"{workers * size / 1e6:.0f} MB live: table of {most / 1e6:.0f} MB at most")


def test_time_in_open_transactions(postgres_server: Postgres, small_data: Path, tmp_path: Path) -> None:
    """A worker with epochs of 5 s, looked at 200 times a second for two minutes: the share of looks at which one of its
    connections was idle in a transaction, and the longest time that it was."""
    url = postgres_server.create_database()
    create(url, small_study(trials=1, epochs=EPOCHS, pruner={"name": "median"}))
    options: dict[str, Any] = {"grace": 60.0, "checkpoint_every": 60.0}
    worker = Worker(url, "small", small_data, tmp_path, hook=partial(slow_epochs, 5.0), **options)
    worker.wait_epoch(0)
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    query = sa.text(
        "SELECT xact_start FROM pg_stat_activity WHERE application_name = 'lobtuna' AND state LIKE 'idle in trans%'"
    )
    looks, open_looks, longest, begun = 0, 0, 0.0, dict[Any, float]()
    with engine.connect() as connection:
        end = time.monotonic() + 120.0
        while (now := time.monotonic()) < end:
            idle = connection.scalars(query).all()
            begun = {start: begun.get(start, now) for start in idle}
            longest = max([longest, *(now - first for first in begun.values())])
            looks, open_looks = looks + 1, open_looks + bool(idle)
            time.sleep(0.005)
    print(f"idle in transaction at {open_looks} of {looks} looks, for {1000 * longest:.0f} ms at most")
    worker.kill()


def test_transactions_of_an_idle_worker(postgres_server: Postgres, small_data: Path, tmp_path: Path) -> None:
    """Two workers that wait for replicates: transactions a minute of each, notes included."""
    url = postgres_server.create_database()
    create(url, small_study(trials=1, epochs=1))
    create(url, small_study("small.seeds", trials=1000, epochs=1))
    options: dict[str, Any] = {"wait": True, "grace": 60.0, "checkpoint_every": 60.0}
    fleet = [Worker(url, "small", small_data, tmp_path, **options) for _ in range(2)]
    for worker in fleet:
        worker.wait_for(lambda event: event.kind == "wait")
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    query = sa.text("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    with engine.connect() as connection:
        time.sleep(60.0)
        before, started = connection.scalar(query), time.monotonic()
        time.sleep(180.0)
        after = connection.scalar(query)
    minutes = (time.monotonic() - started) / 60
    print(f"{(after - before) / minutes / len(fleet):.1f} transactions a minute and idle worker")
    for worker in fleet:
        worker.terminate()
