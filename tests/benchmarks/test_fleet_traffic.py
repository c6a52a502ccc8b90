"""What a fleet costs its database: bytes and statements an epoch, transactions of idle workers, the table of states."""

import random
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from search.work.session import NEEDED
from storage.artifacts import upload_bytes
from storage.backends.registry import open_store
from storage.claims import Batch, Claim
from storage.optuna_internals import study_id_of
from storage.worker.background import LOOK_EVERY, BackgroundStorage
from tests.machines import Worker, create, small_study
from tests.servers import Postgres, TcpProxy

WORKERS, PARAMETERS, EPOCHS = 64, 12, 60

pytestmark = [pytest.mark.bench, pytest.mark.timeout(0)]


class _Meter(TcpProxy):
    """A proxy that counts the bytes that pass."""

    passed = 0

    def _pass_on(self, received: bytes, sink: Any) -> bool:
        type(self).passed += len(received)
        return super()._pass_on(received, sink)


def _trial(study: optuna.Study, epochs: int, *, end: bool) -> optuna.Trial:
    trial = study.ask()
    for i in range(PARAMETERS):
        trial.suggest_float(f"parameter_{i}", 1e-5, 1e-1, log=True)
    trial.set_user_attr("configuration", {f"parameter_{i}": random.random() for i in range(30)})
    for epoch in range(epochs):
        trial.report(random.random(), epoch)
    trial.set_user_attr("seconds", 5.0 * epochs)
    if end:
        trial.set_user_attr("history", [{f"column_{c}": random.random() for c in range(9)} for _ in range(epochs)])
        study.tell(trial, random.random())
    return trial


LOOKS = {"median": 3600 / LOOK_EVERY, "halving": 3 * 3600 / (5 * EPOCHS)}  # an hour and worker; its rungs: 1, 4, 16


@pytest.mark.parametrize("pruner", LOOKS)
def test_bytes_of_one_look(pruner: str, postgres_server: Postgres) -> None:
    """One look of a pruner and one ask while 64 trials run, by Optuna's cache and by the brief reading."""
    live = pruner == "halving"
    url = postgres_server.create_database()
    store = open_store(url)
    study = optuna.create_study(storage=store.storage, direction="maximize", sampler=optuna.samplers.RandomSampler(1))
    for _ in range(20):
        _trial(study, EPOCHS, end=True)
    running = [_trial(study, EPOCHS // 2, end=False) for _ in range(WORKERS)]
    meter = _Meter(postgres_server.port)
    mine = open_store(url.replace(f":{postgres_server.port}/", f":{meter.port}/"))
    study_id = study_id_of(study)
    worker = BackgroundStorage(mine, study_id, Claim("host:1"), attributes=NEEDED, live=live)
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
    for trial in running:
        for epoch in range(EPOCHS // 2, EPOCHS // 2 + 6):
            trial.report(random.random(), epoch)
    measure("a look with 6 more reports of each, brief", lambda: worker.others.read(running=False))
    for name, size in sizes.items():
        print(f"{pruner} {name:>45}: {size / 1024:8.1f} KiB")
    ended = WORKERS * 3600 / (5 * EPOCHS)  # trials of all workers in an hour
    each = (sizes["a look with 8 more finished, brief"] - sizes["a look with 1 more finished, brief"]) / 7
    statement = sizes["a look with 1 more finished, brief"] - each
    report = max(0.0, sizes["a look with 6 more reports of each, brief"] - statement) / (6 * WORKERS)
    hour = (
        WORKERS * (LOOKS[pruner] * statement + ended * each + ended * EPOCHS * report) + ended * sizes["an ask, brief"]
    )
    before = WORKERS * 720 * sizes["a look, Optuna's cache"]
    print(
        f"{pruner}: {WORKERS} workers, {EPOCHS} epochs of 5 s: {hour / 1e6:.0f} MB an hour, {before / 1e6:.0f} before"
    )


@pytest.mark.parametrize("pruner", LOOKS)
def test_statements_of_an_epoch(pruner: str, postgres_server: Postgres) -> None:
    """A worker with 5 s epochs beside trials that run: statements an epoch, beats and looks included."""
    store = open_store(postgres_server.create_database())
    study = optuna.create_study(storage=store.storage, direction="maximize", sampler=optuna.samplers.RandomSampler(1))
    for _ in range(4):
        _trial(study, EPOCHS // 2, end=False)
    live = pruner == "halving"
    worker = BackgroundStorage(store, study_id_of(study), Claim("host:1"), attributes=NEEDED, live=live)
    mine = optuna.Study(study.study_name, worker, sampler=optuna.samplers.RandomSampler(2))
    mine.ask()
    statements: list[str] = []
    assert store.engine is not None
    sa.event.listen(store.engine, "before_cursor_execute", lambda *event: statements.append(event[2]))
    epochs = 24
    for epoch in range(epochs):
        worker.put(Batch(intermediate={epoch: 0.1}, user_attrs={"seconds": 5.0 * epoch}))
        if epoch + 1 in (1, 4, 16) if live else worker.refresh_due():
            worker.refresh()
        time.sleep(5.0)
    print(f"{pruner}: {len(statements) / epochs:.2f} statements an epoch")
    worker.end(Batch(state=TrialState.COMPLETE, values=[0.1]))


def test_the_table_of_states_stays_small(postgres_server: Postgres) -> None:
    """States of 4 MB replaced every two seconds for two minutes: size of the table beside its live bytes."""
    store = open_store(postgres_server.create_database())
    assert store.engine is not None
    live: list[str] = []
    for round_ in range(60):
        live.append(upload_bytes(store.artifacts, random.randbytes(4_000_000)))
        if len(live) > 8:
            store.artifacts.remove(live.pop(0))
        time.sleep(2.0)
        if round_ % 10 == 9:
            with store.engine.begin() as connection:
                size = connection.scalar(sa.text("SELECT pg_total_relation_size('lobtuna_artifact_chunks')"))
            print(f"{(round_ + 1) * 4} MB written, {len(live) * 4} MB live: table of {size / 1e6:.0f} MB")


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
