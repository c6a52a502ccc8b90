"""From a storage URL to the database behind it: every kind of database is one line here and one file beside."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib import import_module

import optuna

from storage.backends.backend import Backend, Connections
from storage.errors import StorageError, UrlError
from storage.optuna_internals import DATABASE_LOGGER
from storage.store import Store, StoreStorage
from storage.url import StorageUrl, redact_url

PATIENCE = 60.0  # seconds that a call waits for an unreachable database
WORKER = Connections(kept=1, passing=1)
SERVER = Connections(kept=4, passing=8)  # of a proxy, whose threads serve many workers


@dataclass(frozen=True)
class Kind:
    """One kind of database before its module is imported. `extra` names the optional packages that it needs."""

    schemes: tuple[str, ...]
    module: str  # in storage.backends; its `BACKEND` is a `Backend`
    form: str  # of its URLs, for messages
    extra: str | None = None


KINDS = (
    Kind(("sqlite",), "sqlite", "sqlite:///FILE"),
    Kind(("postgresql", "postgres", "postgresql+psycopg"), "postgresql", "postgresql://USER:PASSWORD@HOST/DATABASE"),
    Kind(("grpc",), "grpc", "grpc://HOST:PORT", extra="grpc"),
    Kind(("journal",), "journal", "journal://FILE"),
)
FORMS = f"{', '.join(kind.form for kind in KINDS[:-1])} or {KINDS[-1].form}"


def open_store(
    url: str,
    *,
    patience: float = PATIENCE,
    opening: float | None = None,
    connections: Connections = WORKER,
) -> Store:
    """Open the database behind `url`, creating its tables or file if they are not there.

    Every call waits up to `patience` seconds for an unreachable database; opening waits `opening` seconds, or as long.
    Raises `UrlError` for a URL that cannot work and `DatabaseUnavailable` for a database that cannot be reached;
    neither shows a password.
    """
    backend, parsed = _read(url)
    _quiet_optuna()
    waits = patience if opening is None else opening
    return backend.open(parsed, patience=patience, opening=waits, connections=connections)


def open_storage(url: str, *, patience: float = PATIENCE) -> StoreStorage:
    """The Optuna storage of `open_store(url)`, for Optuna's own functions: `load_study(storage=open_storage(url))`."""
    return open_store(url, patience=patience).storage


def backend_of(url: str) -> Backend:
    """The kind of database that `url` names. Raises `UrlError` as `parse_url` does."""
    return _read(url)[0]


def parse_url(url: str) -> StorageUrl:
    """Check `url` and spell it for its driver. Raises `UrlError` that names the rule, never the password."""
    return _read(url)[1]


def _read(url: str) -> tuple[Backend, StorageUrl]:
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        hint = f"; for a file write sqlite:///{redact_url(url)}" if url.endswith((".db", ".sqlite", ".sqlite3")) else ""
        raise UrlError(f"storage {redact_url(url)!r} is not a URL: use {FORMS}{hint}")
    kinds = {scheme: kind for kind in KINDS for scheme in kind.schemes}
    kind = kinds.get(scheme.lower())
    if kind is None:
        raise UrlError(f"storage {redact_url(url)!r} has scheme {redact_url(scheme)!r}: use {FORMS}")
    backend = _load(kind)
    return backend, backend.parse(rest, url)


def _load(kind: Kind) -> Backend:
    try:
        backend: Backend = import_module(f"storage.backends.{kind.module}").BACKEND
    except ModuleNotFoundError as error:
        if kind.extra is None:
            raise
        raise StorageError(f"{kind.form} needs {error.name}: pip install 'lobtuna[{kind.extra}]'") from error
    return backend


def _quiet_optuna() -> None:
    """Hide Optuna's info lines, which would report every trial a second time; warnings and errors stay."""
    if optuna.logging.get_verbosity() < optuna.logging.WARNING:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
    # This logger prints whole statements when a connection breaks. We retry, and report a lasting outage in one line.
    logging.getLogger(DATABASE_LOGGER).setLevel(logging.ERROR)
