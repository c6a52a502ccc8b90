"""Promises of the vacuum: the table of artifacts stays small without PostgreSQL's own, for every user of a database."""

import random

import pytest
import sqlalchemy as sa

from storage.artifacts import upload_bytes
from storage.backends import postgresql_vacuum
from storage.backends.postgresql_vacuum import LEAST, PAUSE, is_due
from storage.backends.registry import open_store
from storage.store import Store
from tests.servers import PASSWORD, Postgres

STATES, SIZE = 4, 1_000_000


def replace_states(store: Store, times: int) -> float:
    """Keep `STATES` artifacts, and replace one so many times; returns the table's size beside their bytes."""
    assert store.engine is not None
    live = [upload_bytes(store.artifacts, random.randbytes(SIZE)) for _ in range(STATES)]
    for _ in range(times):
        live.append(upload_bytes(store.artifacts, random.randbytes(SIZE)))
        with store.engine.begin() as connection:  # what this connection did is counted now, and not some seconds later
            connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
        store.artifacts.remove(live.pop(0))
    with store.engine.begin() as connection:
        size = connection.scalar(sa.text("SELECT pg_total_relation_size('lobtuna_artifact_chunks')"))
    return float(size or 0) / (STATES * SIZE)


@pytest.fixture
def idle_vacuum(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose table PostgreSQL does not vacuum by itself, of an owner who is no superuser."""
    store = open_store(postgres_url)
    assert store.engine is not None
    with store.engine.begin() as connection:
        assert not connection.scalar(sa.text("SELECT usesuper FROM pg_user WHERE usename = current_user"))
        off = "autovacuum_enabled = false, toast.autovacuum_enabled = false"
        connection.execute(sa.text(f"ALTER TABLE lobtuna_artifact_chunks SET ({off})"))
    monkeypatch.setattr(postgresql_vacuum, "PAUSE", 0.0)
    return store


def test_the_table_stays_within_twice_its_live_bytes(idle_vacuum: Store) -> None:
    """States are replaced five times each; without a vacuum, the table takes their bytes six times."""
    assert replace_states(idle_vacuum, 5 * STATES) < 2.0


def test_without_a_vacuum_the_table_grows(idle_vacuum: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above measures can fail."""
    monkeypatch.setattr(postgresql_vacuum, "PAUSE", float("inf"))
    monkeypatch.setattr(postgresql_vacuum, "LEAST", 1 << 40)
    assert replace_states(idle_vacuum, 5 * STATES) > 5.0


def test_a_user_who_does_not_own_the_table_removes_artifacts(
    idle_vacuum: Store, postgres_server: Postgres, postgres_url: str
) -> None:
    """The server refuses that user's vacuum; the removal is none the worse."""
    assert idle_vacuum.engine is not None
    database = postgres_url.rpartition("/")[2]
    with administrator(postgres_server, database).begin() as connection:
        quoted = PASSWORD.replace("'", "''")
        connection.exec_driver_sql(f"CREATE ROLE {database}_guest LOGIN PASSWORD '{quoted}'")
        connection.exec_driver_sql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {database}_guest")
        connection.exec_driver_sql(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {database}_guest")
    guest = open_store(postgres_url.replace(f"//{database}:", f"//{database}_guest:"))
    replace_states(guest, 3)
    assert len(list(guest.artifacts.entries())) == STATES


def administrator(server: Postgres, database: str) -> sa.Engine:
    """An engine of the server's administrator in this database."""
    url = server.url(database, "postgres", "").replace("postgresql://", "postgresql+psycopg://")
    return sa.create_engine(url, poolclass=sa.NullPool)


@pytest.mark.parametrize(
    ("live", "dead", "since", "due"),
    [
        (8 * LEAST, 3 * LEAST, None, True),
        (8 * LEAST, 3 * LEAST, PAUSE, True),
        (8 * LEAST, 3 * LEAST, PAUSE / 2, False),
        (16 * LEAST, 3 * LEAST, None, False),
        (0, LEAST, None, True),
        (0, LEAST - 1, None, False),
    ],
)
def test_when_a_vacuum_is_due(live: int, dead: int, since: float | None, due: bool) -> None:
    """More than a quarter of the live bytes is dead, it is a megabyte, and the last vacuum was a while ago."""
    assert is_due(live, dead, since) is due
