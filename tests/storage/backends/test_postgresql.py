"""Promises of PostgreSQL's backend: no password in a table, idle connections tested before use, one shared clock."""

import socket
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from storage.artifacts import upload
from storage.backends import postgresql, resilient, sql_fleet
from storage.backends.registry import open_store
from storage.claims import Batch, Claim
from storage.errors import DatabaseUnavailable
from storage.store import artifacts_of
from tests.servers import PASSWORD, TcpProxy
from tests.storage.bench import Bench


def test_the_password_is_in_no_table(postgres_url: str) -> None:
    """After a study with artifacts and attributes, no row of any table holds the password."""
    bench = Bench(postgres_url)
    trial = bench.mine.ask()
    upload(artifacts_of(bench.study), trial, bench.storage, b"data", "a.bin")
    bench.mine.tell(trial, 1.0)
    engine = bench.store.engine
    assert engine is not None
    secret = PASSWORD[:10]
    with engine.connect() as connection:
        for table in sa.inspect(engine).get_table_names():
            assert secret not in str(connection.execute(sa.text(f"SELECT * FROM {table}")).all())
    assert secret not in repr(engine)


def test_the_clock_is_seconds_since_1970(postgres_url: str) -> None:
    """The server's clock, here this machine's, agrees with Python's."""
    assert abs(open_store(postgres_url).fleet.now() - time.time()) < 600.0


def test_a_connection_is_pinged_after_idling_only(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that has just answered is used at once; one that was idle is asked first."""
    pings = []
    ping = postgresql.PGDialect_psycopg.do_ping

    def counted(self: Any, connection: Any) -> bool:
        pings.append(1)
        return bool(ping(self, connection))

    store = open_store(postgres_url)
    store.fleet.now()
    monkeypatch.setattr(postgresql, "IDLE_BEFORE_PING", 600.0)
    monkeypatch.setattr(postgresql.PGDialect_psycopg, "do_ping", counted)
    for _ in range(5):
        store.fleet.now()
    assert pings == []
    monkeypatch.setattr(postgresql, "IDLE_BEFORE_PING", 0.0)
    store.fleet.now()
    assert pings == [1]


def test_a_cut_connection_is_replaced(postgres_server, postgres_url: str) -> None:  # type: ignore[no-untyped-def]
    """A call on a connection that was reset a moment ago is repeated on a new one."""
    proxy = TcpProxy(postgres_server.port)
    store = open_store(postgres_url.replace(f":{postgres_server.port}/", f":{proxy.port}/"), patience=300.0)
    store.fleet.now()
    proxy.cut()
    assert abs(store.fleet.now() - time.time()) < 600.0
    proxy.close()


def test_a_resolver_that_fails_for_a_while_is_waited_for(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a connection has existed, a host name that cannot be resolved is an outage like any other."""
    store = open_store(postgres_url.replace("127.0.0.1", "localhost"), patience=300.0)
    assert store.engine is not None
    store.engine.dispose()  # the next call connects anew
    resolve, until = socket.getaddrinfo, time.monotonic() + 0.5

    def away(*args: Any, **kwargs: Any) -> Any:
        if time.monotonic() < until:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", away)
    assert store.storage.get_all_studies() == []
    assert time.monotonic() > until


SLEEPS: dict[str, tuple[Any, str]] = {  # what a process calls when it falls asleep: it holds a lock then
    "ask": (resilient.ResilientStorage, "insert_trial"),
    "write": (sql_fleet, "apply"),
    "beat": (sa.Connection, "execute"),  # after it
}


@pytest.mark.parametrize("moment", ["ask", "write", "beat"])
def test_a_sleeping_process_holds_nobody_up(moment: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop is closed in the middle of a transaction: the server ends its connection after a while, and others get
    on. When it wakes up it tries again, and loses nothing."""
    monkeypatch.setattr(postgresql, "DIALECT", replace(postgresql.DIALECT, wake_limit=limit_of(1.0)))
    sleeper, other = Bench(postgres_url), open_store(postgres_url)
    claim, awake = Claim("host:1", grace=600.0), threading.Event()
    trial_id = sleeper.study.ask()._trial_id
    sleeper.store.fleet.seize(trial_id, claim)
    asleep = threading.Event()
    call = {
        "ask": lambda store: store.storage.create_new_trial(sleeper.study._study_id),
        "write": lambda store: store.fleet.write(trial_id, claim, Batch(user_attrs={"by": "either"})),
        "beat": lambda store: store.fleet.beat(trial_id, claim),
    }[moment]
    owner, name = SLEEPS[moment]
    real = getattr(owner, name)

    def sleeping(*given: Any, **named: Any) -> Any:
        first = threading.current_thread() is thread and not asleep.is_set()
        answer = real(*given, **named) if moment == "beat" else None
        if first:
            asleep.set()
            assert awake.wait(60)
        return answer if moment == "beat" else real(*given, **named)

    monkeypatch.setattr(owner, name, sleeping)
    ended: list[str] = []

    def run() -> None:
        try:
            call(sleeper.store)
            ended.append("done")
        except DatabaseUnavailable:
            ended.append("late")

    thread = threading.Thread(target=run)
    thread.start()
    assert asleep.wait(60)
    call(other)
    awake.set()
    thread.join(60)
    assert ended == ["done"] or (moment, ended) == ("beat", ["late"])  # the next beat follows soon
    assert sleeper.store.fleet.beat(trial_id, claim)
    assert len(sleeper.study.trials) == (3 if moment == "ask" else 1)


def limit_of(seconds: float) -> Any:
    """The server ends a connection that is idle in a transaction for longer."""
    return sa.func.set_config("idle_in_transaction_session_timeout", f"{1000 * seconds:.0f}", sa.true())
