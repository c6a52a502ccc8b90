"""SQLite, the default: one file, many processes, every transaction serialised."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from storage.backends.backend import Backend, Connections
from storage.backends.sql import SqlDatabase
from storage.dialect import Dialect
from storage.errors import UrlError
from storage.optuna_internals import trials
from storage.store import Store
from storage.tables import claims
from storage.url import StorageUrl, file_of, redact_url

LOCK_PATIENCE = 60.0  # seconds that a writer waits for the lock of another
TRIGGER = "lobtuna_claims_of_deleted_trials"
UNIX_EPOCH = 2440587.5  # days of the Julian calendar

DIALECT = Dialect(
    insert=insert,
    now=sa.type_coerce((sa.func.julianday("now") - UNIX_EPOCH) * 86400.0, sa.Float),
    server_start=None,
)


class SerialSqlite(SQLiteDialect_pysqlite):
    """Once `serial` is set, every transaction takes the write lock when it begins.

    SQLite ignores `SELECT .. FOR UPDATE`, so that two processes would read the same queued trial and both take it.
    Optuna's constructor nests two transactions; that is why `serial` is set after it.
    """

    supports_statement_cache = True
    serial = False

    def on_connect(self) -> Callable[[Any], None]:
        """What is done with every new connection: write-ahead log, foreign keys, no implicit transactions."""
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
        """Begin a transaction, with the write lock once `serial` is set."""
        dbapi_connection.execute("BEGIN IMMEDIATE" if self.serial else "BEGIN")


class ReadOnlySqlite(SQLiteDialect_pysqlite):
    """A database on read-only media: no lock is taken, nothing is written."""

    supports_statement_cache = True


registry.register("sqlite.serial", __name__, "SerialSqlite")
registry.register("sqlite.readonly", __name__, "ReadOnlySqlite")


def parse(rest: str, url: str) -> StorageUrl:
    """Read `sqlite:///FILE`. Raises `UrlError`."""
    if not rest.startswith("/"):
        raise UrlError(f"storage {redact_url(url)!r} needs three slashes: sqlite:///FILE, or four for an absolute path")
    path = file_of("sqlite", rest[1:], url)
    return StorageUrl(f"sqlite:///{path}", path=path)


def open_sqlite(url: StorageUrl, *, patience: float, opening: float, connections: Connections) -> Store:
    """Open the file, creating it if it is not there. Raises `UrlError` where its folder does not exist.

    A file that may not be written is opened for reading; whatever writes to it then raises `DatabaseFull`.
    """
    assert url.path is not None
    if not url.path.resolve().parent.is_dir():
        raise UrlError(f"storage {url.driver!r}: folder {url.path.parent} does not exist; create it first")
    if url.path.exists() and not _writable(url.path):
        return _open_read_only(url.path, patience=patience, opening=opening, connections=connections)
    database = SqlDatabase(url, "sqlite+serial", DIALECT, {"timeout": LOCK_PATIENCE}, prepare=_prepare)
    return database.open(patience=patience, opening=opening, connections=connections)


def _writable(path: Path) -> bool:
    """Whether this process may change the file and put SQLite's own files beside it."""
    return os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)


def _open_read_only(path: Path, *, patience: float, opening: float, connections: Connections) -> Store:
    log = path.with_name(f"{path.name}-wal")
    # `immutable` needs no file beside the database, but ignores changes that are only in the write-ahead log.
    how = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    url = StorageUrl(f"sqlite:///file:{quote(str(path.resolve()))}?{how}&uri=true", path=path)
    database = SqlDatabase(url, "sqlite+readonly", DIALECT, {"timeout": LOCK_PATIENCE}, read_only=True)
    return database.open(patience=patience, opening=opening, connections=connections)


def _prepare(engine: sa.Engine) -> None:
    _drop_orphans(engine)
    cast(SerialSqlite, engine.dialect).serial = True


def _drop_orphans(engine: sa.Engine) -> None:
    """Remove claims whose trial was deleted, and make the database itself do so from now on.

    SQLite enforces foreign keys only for connections that ask for it. Plain Optuna's do not: a study that it deletes
    leaves our rows behind, and SQLite reuses the ids of its trials.
    """
    orphan = claims.c.trial_id.not_in(sa.select(trials.c.trial_id))
    trigger = sa.text("SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = :name")
    with engine.begin() as connection:
        if connection.scalar(sa.select(sa.exists(sa.select(claims).where(orphan)))):
            connection.execute(claims.delete().where(orphan))
        if connection.scalar(trigger, {"name": TRIGGER}) is None:
            connection.execute(
                sa.text(
                    f"CREATE TRIGGER IF NOT EXISTS {TRIGGER} AFTER DELETE ON {trials.name} BEGIN "
                    f"DELETE FROM {claims.name} WHERE trial_id = OLD.trial_id; END"
                )
            )


BACKEND = Backend(parse, open_sqlite, sql=True)
