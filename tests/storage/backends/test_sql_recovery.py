"""Promises of recovery in SQL: nobody passes the fence, nobody is judged after an outage, nothing runs for ever."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from storage.backends import sql_unclaimed
from storage.backends.registry import open_store
from storage.backends.sql_fleet import SqlFleet
from storage.claims import LOSSES, NOBODY, Batch, Claim
from storage.contact import Contact
from storage.errors import ClaimLost, DatabaseUnavailable, StorageError
from storage.fleet import Recovered
from storage.optuna_internals import trials
from storage.store import Store
from storage.tables import claims
from storage.worker.heartbeat import Heartbeat
from tests.servers import Postgres, TcpProxy
from tests.storage.bench import Bench, connected, long_up, silence
from tests.wallclock import COMPILER, Clock, compile_library


class Blocked:
    """A call in a thread of its own that waits for a row which another transaction has locked."""

    def __init__(self, bench: Bench, call: Callable[[], Any]) -> None:
        self.error: BaseException | None = None
        self.answer: Any = None

        def run() -> None:
            try:
                self.answer = call()
            except StorageError as error:
                self.error = error

        self.thread = threading.Thread(target=run)
        self.thread.start()
        end = time.monotonic() + 300.0
        assert bench.store.engine is not None
        with bench.store.engine.connect() as connection:
            waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            while not connection.scalar(waiting):
                connection.rollback()
                assert time.monotonic() < end and self.thread.is_alive()
                time.sleep(0.01)

    def join(self) -> None:
        self.thread.join(300)
        assert not self.thread.is_alive()


def test_a_zombie_that_waits_for_the_lock_does_not_pass_the_fence(postgres_url: str) -> None:
    """The write of a former owner begins, and waits, while another worker takes its trial: it is refused, whatever
    the former owner read before it waited."""
    bench, zombie = Bench(postgres_url), open_store(postgres_url)
    trial_id = bench.study.ask()._trial_id
    former, present = Claim("host:1"), Claim("host:2")
    bench.store.fleet.seize(trial_id, former)
    assert bench.store.engine is not None
    with bench.store.engine.begin() as between:
        between.execute(sa.select(trials).where(trials.c.trial_id == trial_id).with_for_update())
        result = Batch(user_attrs={"late": True}, state=TrialState.COMPLETE, values=[0.1])
        late = Blocked(bench, lambda: zombie.fleet.write(trial_id, former, result))
        between.execute(claims.update().values(token=present.token, worker=present.worker))
        between.execute(trials.update().where(trials.c.trial_id == trial_id).values(state=TrialState.RUNNING))
    late.join()
    assert isinstance(late.error, ClaimLost)
    stored = bench.fresh()
    assert (stored.state, stored.user_attrs) == (TrialState.RUNNING, {})
    bench.store.fleet.write(trial_id, present, Batch(state=TrialState.COMPLETE, values=[0.9]))
    assert bench.fresh().value == 0.9


@pytest.mark.parametrize("change", ["a beat", "another owner"])
def test_a_recovery_that_waits_for_the_lock_judges_what_is_there_then(postgres_url: str, change: str) -> None:
    """Between the look and the lock the worker beats after all, or another takes the trial: it is left alone."""
    bench, peer = Bench(postgres_url), open_store(postgres_url)
    trial_id = bench.study.ask()._trial_id
    bench.store.fleet.seize(trial_id, Claim("host:1", grace=10.0))
    assert _watch(peer, bench, 0.1) == []
    silence(bench, 20.0)
    connected(peer)
    long_up(peer)
    assert bench.store.engine is not None
    with bench.store.engine.begin() as between:
        between.execute(sa.select(trials).where(trials.c.trial_id == trial_id).with_for_update())
        judge = Blocked(bench, lambda: _watch(peer, bench, 0.3))
        now = bench.store.fleet.dialect.now  # type: ignore[attr-defined]
        changed = {"a beat": {"beat": now, "grace": 60.0}, "another owner": {"token": "other", "grace": 60.0}}
        between.execute(claims.update().values(**changed[change]))
    judge.join()
    assert judge.answer == []
    assert bench.fresh().state == TrialState.RUNNING


def _watch(peer: Store, bench: Bench, seconds: float) -> list[Recovered]:
    """Look again and again; the trials that were taken back."""
    found: list[Recovered] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end and not found:
        found = peer.fleet.recover(bench.study._study_id, max_retries=3)
        time.sleep(0.02)
    return found


@pytest.fixture
def lines(postgres_server) -> Iterator[tuple[TcpProxy, TcpProxy]]:  # type: ignore[no-untyped-def]
    """Two lines to one database, which a test cuts while the server goes on."""
    lines = TcpProxy(postgres_server.port), TcpProxy(postgres_server.port)
    yield lines
    for line in lines:
        line.close()


def test_nobody_is_robbed_after_an_outage_of_the_line(
    postgres_server: Postgres, postgres_url: str, lines: tuple[TcpProxy, TcpProxy]
) -> None:
    """The line is away for longer than the grace, and the server was not: the worker that is back first leaves the
    trials of the others alone. One that died in the outage is noticed a grace later."""
    near, far = (postgres_url.replace(f":{postgres_server.port}/", f":{line.port}/") for line in lines)
    bench, peer = Bench(postgres_url), open_store(near, patience=0.5)
    beats, held = [], []
    for number in range(3):
        trial_id = bench.study.ask()._trial_id
        claim, own = Claim(f"host:{number}", grace=2.0), open_store(far, patience=0.5).fleet
        own.seize(trial_id, claim)
        held.append((own, trial_id, claim))
        beats.append(Heartbeat(lambda own=own, t=trial_id, c=claim: own.beat(t, c), claim.grace, lambda: None))  # type: ignore[misc]
    assert _watch(peer, bench, 2.4) == []
    for line in lines:
        line.accepting = False
        line.cut()
    beats[0].stop()  # host:0 dies in the outage
    with pytest.raises(DatabaseUnavailable):
        _watch(peer, bench, 1.0)
    time.sleep(2.5)
    lines[0].accepting = True
    assert _watch(peer, bench, 0.6) == []
    lines[1].accepting = True
    assert [trial.worker for trial in _watch(peer, bench, 300.0)] == ["host:0"]
    assert _watch(peer, bench, 2.6) == []
    for beat in beats:
        beat.stop()
    for own, trial_id, claim in held[1:]:
        own.write(trial_id, claim, Batch(state=TrialState.COMPLETE, values=[1.0]))


def test_progress_keeps_a_trial_from_being_given_up(postgres_url: str) -> None:
    """A trial that gets an epoch further with each worker that vanishes is queued again each time; one that does not
    is given up, and the attempts are counted all the same."""
    bench, peer = Bench(postgres_url), open_store(postgres_url)
    trial_id = bench.study.ask()._trial_id
    for epoch in (0, 1, 2, 2, 2):
        claim = Claim("host:1", grace=0.2)
        bench.store.fleet.seize(trial_id, claim)
        bench.store.fleet.write(trial_id, claim, Batch(intermediate={epoch: 0.5}))
        (found,) = _recover(peer, bench, max_retries=2)
        assert found.given_up == (found.losses == 3)
    assert bench.fresh().state == TrialState.FAIL
    assert bench.fresh().system_attrs[LOSSES] == 5


def _recover(peer: Store, bench: Bench, max_retries: int) -> list[Recovered]:
    end = time.monotonic() + 300.0
    while time.monotonic() < end:
        found = peer.fleet.recover(bench.study._study_id, max_retries)
        if found:
            return found
        time.sleep(0.02)
    return []


@pytest.fixture(params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path) -> Bench:  # type: ignore[no-untyped-def]
    """A study on SQLite and on PostgreSQL."""
    sqlite = request.param == "sqlite"
    return Bench(f"sqlite:///{tmp_path / 'study.db'}" if sqlite else request.getfixturevalue("postgres_url"))


def test_a_trial_without_a_claim_does_not_run_for_ever(shared: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own `ask` is left alone while it reports, then queued again; nobody waits for its beat; and a worker
    finishes it."""
    monkeypatch.setattr(sql_unclaimed, "UNCLAIMED_GRACE", 80.0)
    connected(shared.store)
    long_up(shared.store)
    stopwatch = Stopwatch(shared.store)
    plain = shared.study.ask()
    for step in range(4):
        plain.report(0.5, step)
        assert _watch(shared.store, shared, 0.1) == []
        stopwatch.now += 60.0
    assert _watch(shared.store, shared, 0.1) == []
    stopwatch.now += 60.0
    assert shared.store.fleet.unheard(shared.study._study_id, shared.store.fleet.now() + 1.0) == []
    (found,) = _recover(shared.store, shared, max_retries=3)
    assert (found.number, found.worker, found.given_up) == (plain.number, NOBODY, False)
    again = shared.mine.ask()
    assert again.number == plain.number
    shared.mine.tell(again, 0.5)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        shared.inner.set_trial_state_values(plain._trial_id, TrialState.COMPLETE, [0.1])
    assert shared.fresh().value == 0.5


class Stopwatch:
    """The stopwatch by which a process watches trials without a claim, in a test's hand."""

    def __init__(self, store: Store) -> None:
        assert isinstance(store.fleet, SqlFleet)
        self.now = 0.0
        store.fleet.recovery.unclaimed.clock = lambda: self.now


def test_no_clock_makes_a_trial_without_a_claim_look_old(shared: Bench) -> None:
    """The database's clock is set forward by two days, and workers come and go: a user's script that trains, and
    reports once in an hour, keeps its trial."""
    plain = shared.study.ask()
    plain.report(0.5, 0)
    for _ in range(3):
        worker = open_store(shared.url)
        assert _watch(worker, shared, 0.1) == []
        silence(shared, 2 * 86_400.0)
        connected(worker)
        long_up(worker)
        assert _watch(worker, shared, 0.1) == []
    assert shared.fresh().state == TrialState.RUNNING


def test_workers_that_stay_for_minutes_watch_for_an_hour_together(shared: Bench) -> None:
    """Each watches for 25 minutes: the third may take the trial over, since what they saw is in the database. Two that
    watch at once count once, and the time of an outage, in which nobody could report, not at all."""
    plain = shared.study.ask()
    for passed in (1500.0, 1500.0, 600.0 - 90.0):
        pair = [open_store(shared.url) for _ in range(2)]
        watches = [Stopwatch(worker) for worker in pair]
        assert [_looked(worker, shared) for worker in pair] == [[], []]
        for watch, worker in zip(watches, pair, strict=True):
            watch.now += passed
            assert _looked(worker, shared) == []
    late = pair[0]
    late.fleet.storage.contact.failed()  # type: ignore[attr-defined]
    watches[0].now += 3600.0
    assert late.fleet.recover(shared.study._study_id, 3) == []
    watches[0].now += 100.0
    assert [trial.number for trial in _looked(late, shared)] == [plain.number]
    assert shared.fresh().state == TrialState.WAITING


def _looked(worker: Store, bench: Bench) -> list[Recovered]:
    """One look of a worker that was in contact with the database for the whole time."""
    assert isinstance(worker.fleet, SqlFleet)
    worker.fleet.storage.contact = Contact([float(age) for age in range(3600)])
    long_up(worker)
    return worker.fleet.recover(bench.study._study_id, 3)


def test_a_beat_in_the_future_is_no_beat(shared: Bench) -> None:
    """The database's clock was set back by an hour: what a worker has sent before that does not show that it is there;
    its next beat does."""
    trial_id, claim, fleet = shared.study.ask()._trial_id, Claim("host:1", grace=60.0), shared.store.fleet
    fleet.seize(trial_id, claim)
    silence(shared, -3600.0)
    since = fleet.now()
    assert fleet.unheard(shared.study._study_id, since) == [0]
    assert fleet.beat(trial_id, claim)
    assert fleet.unheard(shared.study._study_id, since - 1.0) == []


def test_a_worker_may_claim_what_was_nobodys(shared: Bench) -> None:
    """A trial that was seen without a claim is its owner's from the moment it gets one."""
    trial_id = shared.study.ask()._trial_id
    assert _watch(shared.store, shared, 0.1) == []
    claim = Claim("host:1", grace=60.0)
    shared.store.fleet.seize(trial_id, claim)
    assert _watch(shared.store, shared, 0.2) == []
    shared.store.fleet.write(trial_id, claim, Batch(state=TrialState.COMPLETE, values=[0.5]))
    assert shared.fresh().value == 0.5


@pytest.fixture
def clocked_server() -> Iterator[tuple[Postgres, Clock]]:
    """A server whose own wall clock a test sets."""
    if COMPILER is None:
        pytest.skip("there is no C compiler for the library that sets the server's clock")
    with tempfile.TemporaryDirectory() as name:  # not under pytest's folder: the server's user must read it
        folder = Path(name)
        folder.chmod(0o755)
        clock = Clock(folder / "clock")
        environment = {"LD_PRELOAD": str(compile_library(folder)), "TEST_CLOCK": str(clock.path)}
        server = Postgres(environment=environment)
        yield server, clock
        server.close()


def test_a_server_whose_clock_is_set(clocked_server: tuple[Postgres, Clock]) -> None:
    """By a day, forward and back: no living worker loses its trial, and a dead one's is taken back within seconds."""
    server, clock = clocked_server
    url = server.create_database()
    bench, peer = Bench(url), open_store(url)
    beats = []
    for number in range(3):
        trial_id = bench.study.ask()._trial_id
        claim = Claim(f"host:{number}", grace=2.0)
        bench.store.fleet.seize(trial_id, claim)
        beat = lambda t=trial_id, c=claim: bench.store.fleet.beat(t, c)  # noqa: E731
        beats.append(Heartbeat(beat, claim.grace, lambda: None))
    assert _watch(peer, bench, 2.6) == []
    for number, jump in enumerate((86_400, -86_400)):
        before = peer.fleet.now()
        clock.jump(jump)
        assert abs(peer.fleet.now() - before - jump) < 600.0
        assert _watch(peer, bench, 2.6) == []
        beats[number].stop()
        clock.jump(0)
        assert [trial.worker for trial in _watch(peer, bench, 300.0)] == [f"host:{number}"]
        assert _watch(peer, bench, 2.6) == []
    beats[2].stop()


@pytest.mark.parametrize("jump", [86_400, -86_400], ids=["forward", "back"])
def test_a_users_own_trial_where_the_servers_clock_is_set(clocked_server: tuple[Postgres, Clock], jump: int) -> None:
    """By a day: the user's script keeps its trial, also from a worker that comes after that."""
    server, clock = clocked_server
    bench = Bench(server.create_database())
    plain = bench.study.ask()
    early, late = open_store(bench.url), open_store(bench.url)
    assert _watch(early, bench, 0.1) == []
    clock.jump(jump)
    for peer in (early, late):
        assert _watch(peer, bench, 0.1) == []
        connected(peer)
        assert _watch(peer, bench, 0.1) == []
    bench.study.tell(plain, 0.5)
    assert bench.fresh().value == 0.5
