"""SQLAlchemy dialects with two habits changed: SQLite locks before it reads, PostgreSQL is pinged after idling."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, cast

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

IDLE_BEFORE_PING = 5.0  # seconds; a ping before every call would cost a round trip each


class SerialSqlite(SQLiteDialect_pysqlite):
    """Once `serial` is set, every transaction takes the write lock when it begins.

    SQLite ignores `SELECT .. FOR UPDATE`, so that two processes would read the same queued trial and both take it.
    Optuna's constructor nests two transactions; that is why `serial` is set after it.
    """

    supports_statement_cache = True
    serial = False

    def on_connect(self) -> Callable[[Any], None]:
        parent = super().on_connect()

        def tune(connection: sqlite3.Connection) -> None:
            if parent is not None:
                parent(cast(Any, connection))
            connection.isolation_level = None  # the driver's own BEGIN is the deferred kind
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")  # safe with WAL against a killed process
            connection.execute("PRAGMA foreign_keys=ON")

        return tune

    def do_begin(self, dbapi_connection: Any) -> None:
        dbapi_connection.execute("BEGIN IMMEDIATE" if self.serial else "BEGIN")


class PatientPostgres(PGDialect_psycopg):
    """Trusts a connection that answered a moment ago; a call that fails all the same is tried again anyway."""

    supports_statement_cache = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._answered: dict[int, float] = {}  # id of the connection -> time.monotonic()

    def do_ping(self, dbapi_connection: Any) -> bool:
        key = id(dbapi_connection)
        if time.monotonic() - self._answered.get(key, float("-inf")) < IDLE_BEFORE_PING:
            return True
        alive = bool(super().do_ping(dbapi_connection))
        if alive:
            self._answered[key] = time.monotonic()
        return alive

    def do_commit(self, dbapi_connection: Any) -> None:
        super().do_commit(dbapi_connection)
        self._answered[id(dbapi_connection)] = time.monotonic()

    def do_close(self, dbapi_connection: Any) -> None:
        self._answered.pop(id(dbapi_connection), None)
        super().do_close(dbapi_connection)


registry.register("sqlite.serial", "storage.backends.dialects", "SerialSqlite")
registry.register("postgresql.patient", "storage.backends.dialects", "PatientPostgres")
