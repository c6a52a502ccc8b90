"""The one door to a database: `open_storage(url)` gives an Optuna storage that is tuned, serialised and patient."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, _CachedStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy import Engine

import storage.backends.dialects  # noqa: F401  registers the tuned dialects
from storage.backends.resilient import ResilientStorage
from storage.errors import StorageError, UrlError
from storage.retry import describe, with_retry
from storage.tables import create_tables, made_by_another
from storage.url import StorageUrl, parse_url, redact

PATIENCE = 60.0  # seconds that a call waits for a database which is away
POOL = {"pool_pre_ping": True, "pool_size": 4, "max_overflow": 8, "pool_recycle": 1800, "pool_timeout": 30}


def open_storage(url: str, *, patience: float = PATIENCE) -> BaseStorage:
    """The Optuna storage behind `url`, creating its tables or file if they are not there.

    Every call waits up to `patience` seconds for a database that is away. Raises `UrlError` for a URL that cannot
    work and `DatabaseUnavailable` for a database that cannot be reached; neither shows a password.
    """
    parsed = parse_url(url)
    _quiet_optuna()
    if parsed.kind == "grpc":
        from storage.backends.grpc import connect

        return connect(parsed.host, parsed.port, patience=patience)
    if parsed.kind == "journal":
        return _open_journal(parsed)
    return _open_database(parsed, patience)


def database_engine(storage: BaseStorage) -> Engine | None:
    """The SQLAlchemy engine under `storage`, or None where there is none on this side (grpc, journal)."""
    backend = database_backend(storage)
    return None if backend is None else backend.engine


def database_backend(storage: BaseStorage) -> ResilientStorage | None:
    """The database storage under the cache and the background channel, or None for grpc and journal."""
    inner = getattr(storage, "inner", storage)  # a `BackgroundStorage` wraps the one that was opened
    backend = getattr(inner, "_backend", inner)
    return backend if isinstance(backend, ResilientStorage) else None


def number_of(storage: BaseStorage, trial_id: int) -> int:
    """Number of a trial this process has just created: known to the cache, asked for elsewhere."""
    known = getattr(storage, "_trial_id_to_study_id_and_number", {})
    return known[trial_id][1] if trial_id in known else storage.get_trial(trial_id).number


def journal_file(storage: BaseStorage) -> Path | None:
    """The file behind a journal storage, or None for another kind."""
    inner = getattr(storage, "inner", storage)
    if not isinstance(inner, JournalStorage) or not isinstance(inner._backend, JournalFileBackend):
        return None
    return Path(inner._backend._file_path)


def _open_database(url: StorageUrl, patience: float) -> BaseStorage:
    shown = redact(url.driver)
    if url.path is not None and not url.path.resolve().parent.is_dir():
        raise UrlError(f"storage {shown!r}: folder {url.path.parent} does not exist; create it first")
    scheme, _, rest = url.driver.partition("://")
    tuned = {"sqlite": "sqlite+serial", "postgresql+psycopg": "postgresql+patient"}[scheme]

    def build() -> ResilientStorage:
        options: dict[str, Any] = {"connect_args": _connect_arguments(url), **POOL}
        storage = ResilientStorage(f"{tuned}://{rest}", patience=patience, engine_kwargs=options)
        create_tables(storage.engine)
        if url.kind == "sqlite":
            storage.engine.dialect.serial = True  # type: ignore[attr-defined]
        return storage

    try:
        return _CachedStorage(with_retry(build, patience, what=f"opening {shown}", retry_on=made_by_another))
    except StorageError as error:
        raise type(error)(f"{shown}: {error}") from error
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
        raise StorageError(f"{shown}: {describe(error)}; name the study's database with --storage") from error
    except RuntimeError as error:  # Optuna's word for tables of another version
        raise StorageError(f"{shown}: {redact(str(error))}") from error


def _connect_arguments(url: StorageUrl) -> dict[str, Any]:
    if url.kind == "sqlite":
        return {"timeout": 60.0}  # seconds that a writer queues for the lock
    return {
        "connect_timeout": 10,
        "keepalives": 1,
        "keepalives_idle": 20,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,  # ms: a cut cable is noticed before a claim's grace is over
        "prepare_threshold": None,  # transaction poolers give each transaction another session
        "application_name": "lobtuna",
    }


def _open_journal(url: StorageUrl) -> BaseStorage:
    assert url.path is not None
    try:
        # The open lock works on Linux, macOS, Windows and NFS 3 or newer; the default needs symbolic links.
        backend = JournalFileBackend(str(url.path), lock_obj=JournalFileOpenLock(str(url.path)))
        return JournalStorage(backend)
    except OSError as error:
        raise UrlError(f"storage {url.driver!r}: {error.strerror}; name a file that can be written") from error
    except ValueError as error:
        raise UrlError(f"storage {url.driver!r} is not an Optuna journal: {error}") from error


def _quiet_optuna() -> None:
    """Optuna's own lines would name every trial twice; warnings and errors stay."""
    if optuna.logging.get_verbosity() < optuna.logging.WARNING:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
    # It shows whole statements when a connection breaks, which is tried again and told in one line if it lasts.
    logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.ERROR)
