"""Promises about connections: one to start with, one a worker, two in passing, and a transaction pooler is enough."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import psycopg
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from storage.artifacts import download, upload
from storage.backends.registry import open_store
from storage.claims import Batch
from storage.store import artifacts_of
from tests.machines import CONTEXT, Worker, assert_sound, create, small_study, trials, wait_until
from tests.pace import stand_still
from tests.servers import PgBouncer, Postgres
from tests.storage.bench import Bench


@pytest.fixture
def pooler(postgres_server: Postgres, postgres_url: str) -> Iterator[PgBouncer]:
    """PgBouncer in transaction mode with three connections."""
    if PgBouncer.PROGRAM is None:
        pytest.skip("pgbouncer is not installed: apt-get install pgbouncer")
    pooler = PgBouncer(postgres_server, postgres_url, size=3, settings="query_wait_timeout = 3600\n")
    yield pooler
    pooler.close()


def _limited(server: Postgres, url: str, connections: int) -> str:
    """Let the database's owner have only so many connections."""
    with psycopg.connect(server.url("postgres", "postgres", ""), autocommit=True) as connection:
        connection.execute(f"ALTER ROLE {url.rpartition('/')[2]} CONNECTION LIMIT {connections}")  # type: ignore[arg-type]
    return url


@contextmanager
def sampled(count: Callable[[], int]) -> Iterator[list[int]]:
    """What `count()` gives from moment to moment while the block runs, in the order of time."""
    counts: list[int] = []
    stopped = threading.Event()

    def run() -> None:
        while not stopped.wait(0.02):
            counts.append(count())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield counts
    finally:
        stopped.set()
        thread.join()


@contextmanager
def connections_of(server: Postgres, url: str) -> Iterator[Callable[[], int]]:
    """A function that counts the connections which the database has at this moment."""
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{url.rpartition('/')[2]}'"
    with psycopg.connect(server.url("postgres", "postgres", ""), autocommit=True) as connection:
        yield lambda: int(connection.execute(query).fetchone()[0])  # type: ignore[call-overload,index]


class Opened:
    """The most connections that an engine has had open at the same moment, from now on."""

    def __init__(self, engine: sa.Engine) -> None:
        pool = engine.pool
        assert isinstance(pool, sa.QueuePool)
        self.most = self.now = pool.checkedin() + pool.checkedout()
        sa.event.listen(pool, "connect", lambda *_: self._count(1))
        sa.event.listen(pool, "close", lambda *_: self._count(-1))

    def _count(self, change: int) -> None:
        self.now += change
        self.most = max(self.most, self.now)


def _start(url: str, queue: Any) -> None:
    """Open the database as a worker does."""
    try:
        open_store(url, patience=60.0).fleet.now()
        queue.put(None)
    except Exception as error:
        queue.put(str(error))


@pytest.mark.parametrize("new", [True, False], ids=["new", "existing"])
def test_eight_starts_through_a_pool_of_three(pooler: PgBouncer, new: bool) -> None:
    """Processes that start at once need one connection each and take turns; none waits for another for ever."""
    if not new:
        open_store(pooler.url)
    queue: Any = CONTEXT.Queue()
    processes = [CONTEXT.Process(target=_start, args=(pooler.url, queue)) for _ in range(8)]
    for process in processes:
        process.start()
    errors = [queue.get(timeout=400) for _ in processes]  # a pool in which all wait for each other stays so for an hour
    for process in processes:
        process.join(60)
    assert errors == [None] * len(processes)


def test_a_start_on_a_server_with_one_connection_left(postgres_server: Postgres, postgres_url: str) -> None:
    """New and existing databases are opened, and a trial is run, with a single connection."""
    url = _limited(postgres_server, postgres_url, 1)
    for _ in range(2):
        bench = Bench(url, grace=60.0)
        trial = bench.mine.ask()
        trial.report(0.5, 0)
        bench.mine.tell(trial, 1.0)
        assert bench.store.engine is not None
        bench.store.engine.dispose()
    assert [trial.state for trial in bench.study.trials] == [TrialState.COMPLETE] * 2


def test_a_worker_holds_one_connection(postgres_server: Postgres, postgres_url: str) -> None:
    """Beats, writes, reads and uploads at the same time take a second connection in passing, and never a third."""
    with connections_of(postgres_server, postgres_url) as count, sampled(count) as counts:
        bench = Bench(postgres_url, grace=0.4)
        assert bench.store.engine is not None
        opened = Opened(bench.store.engine)
        for _ in range(3):
            trial = bench.mine.ask()
            for epoch in range(10):
                trial.report(0.5, epoch)
                bench.storage.refresh()
                bench.storage.put(lambda: Batch(user_attrs={"a": upload_of(bench)}))
            _read_while_writing(bench)
            bench.mine.tell(trial, 1.0)
            wait_until(lambda: opened.now == 1, "the second connection was one in passing")
        # Seen by the server, which ends a closed connection some time later: one remains in the end.
        wait_until(lambda: counts[-20:] == [1] * 20, "one connection remains")
    assert opened.most == 2


def _read_while_writing(bench: Bench) -> None:
    """Read in the middle of a transaction of the background thread."""
    inside, read = threading.Event(), threading.Event()

    def hold() -> None:
        assert bench.store.engine is not None
        with bench.store.engine.begin() as connection:
            connection.execute(sa.text("SELECT 1"))
            inside.set()
            read.wait(300)

    bench.storage.put(hold)
    assert inside.wait(300)
    bench.storage.refresh()
    read.set()


def upload_of(bench: Bench) -> str:
    """Megabytes in the database's own store."""
    artifacts = artifacts_of(bench.study)
    return upload(artifacts, bench.study, bench.inner, b"x" * 2_000_000, "state.bin")


def test_everything_works_behind_a_transaction_pooler(pooler: PgBouncer) -> None:
    """Claims, beats, reports, recovery, artifacts and Optuna's own calls, each transaction on any connection."""
    bench, peer = Bench(pooler.url, grace=0.6), open_store(pooler.url)
    trial = bench.mine.ask()
    x = trial.suggest_float("x", 0, 1)
    trial.report(0.5, 0)
    artifact = upload(artifacts_of(bench.study), trial, bench.storage, b"weights", "w.bin")
    former = bench.storage.running
    assert former is not None
    former.channel.flush(300)
    former.heartbeat.stop()
    found: list[Any] = []

    def recovered() -> bool:
        found.extend(peer.fleet.recover(bench.study._study_id, max_retries=3))
        return bool(found)

    wait_until(recovered, "the silent worker's trial is taken back")
    assert [recovered.number for recovered in found] == [trial.number]
    bench.storage.drop()
    again = bench.mine.ask()
    assert (again.number, again.suggest_float("x", 0, 1)) == (trial.number, x)
    bench.mine.tell(again, 1.0)
    assert download(artifacts_of(bench.study), artifact) == b"weights"
    assert optuna.load_study(study_name="s", storage=bench.inner).best_value == 1.0


def test_a_fleet_behind_a_transaction_pooler(pooler: PgBouncer, small_data: Path, tmp_path: Path) -> None:
    """More workers than the pool has connections: one is killed and its trial taken over, and the study ends.
    All goes on, too, after a moment in which none of the connections is free."""
    create(pooler.url, small_study(trials=4, epochs=4))  # one each: begun by all at once, more would exceed the budget
    gate = tmp_path / "gate"
    hooks = [partial(stand_still, 1), *[partial(stand_still, 1, gate)] * 3]
    workers = [Worker(pooler.url, "small", small_data, tmp_path, hook=hook, grace=3.0) for hook in hooks]
    for worker in workers:
        worker.wait_epoch(0)
    with pooler.console() as count, ExitStack() as all_taken:
        for _ in range(3):
            all_taken.enter_context(psycopg.connect(pooler.url)).execute("SELECT 1")  # in a transaction that stays open
        assert count() == 3
    gate.touch()
    workers[0].kill()
    assert [worker.join() for worker in workers[1:]] == [0, 0, 0], [worker.error for worker in workers]
    assert_sound(pooler.url)
    assert {trial.state for trial in trials(pooler.url)} == {TrialState.COMPLETE}
