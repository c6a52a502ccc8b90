"""Opens an SQL database: Optuna's tables and lobtuna's own in one engine, with retries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
import sqlalchemy as sa
import sqlalchemy.exc
from optuna.exceptions import StorageInternalError
from sqlalchemy import Engine

from storage.artifacts.database import DatabaseArtifacts
from storage.backends.backend import Connections
from storage.backends.resilient import ResilientStorage
from storage.backends.sql_fleet import SqlFleet
from storage.dialect import Dialect
from storage.errors import StorageError
from storage.identity import of_database
from storage.optuna_internals import OptunaCache, version_info
from storage.retry import describe, refusal_of, with_retry
from storage.store import Store, StoreStorage
from storage.tables import create_tables, made_by_another
from storage.url import StorageUrl, redact

POOL = {"pool_pre_ping": True, "pool_recycle": 1800, "pool_timeout": 30}


class CachedStorage(StoreStorage, OptunaCache):
    """The storage of a database store: finished trials are read once."""


def _nothing(*_: object) -> None:
    """The default of `prepare` and `freed`: most databases need neither."""


def _require_same_optuna(engine: Engine) -> None:
    """Raise `StorageError` where an Optuna of another major version set the tables up: it reads times differently."""
    with engine.connect() as connection:
        theirs = connection.scalar(sa.select(version_info.c.library_version))
    ours = optuna.__version__
    if theirs is not None and str(theirs).split(".")[0] != ours.split(".")[0]:
        raise StorageError(
            f"optuna {theirs} set this database up, this is optuna {ours}: they read each other's times wrongly and "
            "must not share one; use a new database, or, once nothing uses the old version any more: "
            "optuna storage upgrade --storage URL"
        )


@dataclass(frozen=True)
class SqlDatabase:
    """One database as its backend describes it.

    `driver` is the scheme that SQLAlchemy gets, of a dialect registered by the backend. `prepare` is called with the
    engine once all tables are there, `freed` with the engine and a number of bytes after an artifact was removed.
    """

    url: StorageUrl
    driver: str
    dialect: Dialect
    connect_args: Mapping[str, Any]
    prepare: Callable[[Engine], None] = _nothing
    freed: Callable[[Engine, int], None] = _nothing
    read_only: bool = False  # nothing is created: what is missing cannot be read

    def open(self, *, patience: float, opening: float, connections: Connections) -> Store:
        """Connect and create missing tables. Raises `StorageError` in one line without the password."""
        shown = redact(self.url.driver)
        try:
            database = with_retry(
                lambda: self._build(patience, connections),
                opening,
                what=f"opening {shown}",
                retry_on=made_by_another,
                connected=False,
            )
        except StorageError as error:
            raise type(error)(f"{shown}: {error}") from error
        except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
            told = refusal_of(error) or f"{describe(error)}; name the study's database with --storage"
            raise StorageError(f"{shown}: {told}") from error
        except RuntimeError as error:  # what Optuna raises for tables of another version
            raise StorageError(f"{shown}: {redact(str(error))}") from error
        artifacts = DatabaseArtifacts(database.engine, self.dialect, patience, self.freed)

        def identify() -> str:
            made = lambda: of_database(database.engine, self.dialect)  # noqa: E731
            return with_retry(made, patience, what="identity", retry_on=made_by_another)

        return Store(CachedStorage(database), SqlFleet(database), artifacts, identify, database.engine)

    def _build(self, patience: float, connections: Connections) -> ResilientStorage:
        _, _, rest = self.url.driver.partition("://")
        pool = {**POOL, "pool_size": connections.kept, "max_overflow": connections.passing}
        options: dict[str, Any] = {"connect_args": dict(self.connect_args), **pool}
        database = ResilientStorage(f"{self.driver}://{rest}", options, dialect=self.dialect, patience=patience)
        _require_same_optuna(database.engine)
        if not self.read_only:
            create_tables(database.engine)
        self.prepare(database.engine)
        return database
