"""PostgreSQL through psycopg 3: dead connections are noticed, idle ones are tested before use, poolers work."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote, unquote

import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from storage.backends.backend import Backend, Connections
from storage.backends.postgresql_vacuum import vacuum_if_due
from storage.backends.sql import SqlDatabase
from storage.dialect import Dialect
from storage.errors import UrlError
from storage.store import Store
from storage.url import StorageUrl, redact_url

IDLE_BEFORE_PING = 5.0  # seconds; a ping before every call would cost a round trip each

CONNECT_ARGS = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # ms: a cut cable is noticed before a claim's grace is over
    "prepare_threshold": None,  # transaction poolers give each transaction another session
    "application_name": "lobtuna",
}

ASLEEP = 60.0  # seconds: a laptop that was closed in a transaction holds its locks no longer

DIALECT = Dialect(
    insert=insert,
    now=sa.type_coerce(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Float),
    server_start=sa.type_coerce(sa.func.extract("epoch", sa.func.pg_postmaster_start_time()), sa.Float),
    # For this transaction alone: it reaches the server with a statement that is sent anyway, also through a pooler.
    wake_limit=sa.func.set_config("idle_in_transaction_session_timeout", f"{1000 * ASLEEP:.0f}", sa.true()),
)


class PatientPostgres(PGDialect_psycopg):
    """Pings a connection before use only where it has been idle; a call that fails is tried again in any case."""

    supports_statement_cache = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._answered: dict[int, float] = {}  # id of the connection -> time.monotonic()

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Whether the connection answers; one that answered within `IDLE_BEFORE_PING` seconds is not asked."""
        key = id(dbapi_connection)
        if time.monotonic() - self._answered.get(key, float("-inf")) < IDLE_BEFORE_PING:
            return True
        alive = bool(super().do_ping(dbapi_connection))
        if alive:
            self._answered[key] = time.monotonic()
        return alive

    def do_commit(self, dbapi_connection: Any) -> None:
        """Commit, and remember that the connection answered."""
        super().do_commit(dbapi_connection)
        self._answered[id(dbapi_connection)] = time.monotonic()

    def do_close(self, dbapi_connection: Any) -> None:
        """Close the connection and forget about it."""
        self._answered.pop(id(dbapi_connection), None)
        super().do_close(dbapi_connection)


registry.register("postgresql.patient", __name__, "PatientPostgres")


def parse(rest: str, url: str) -> StorageUrl:
    """Read `postgresql://USER:PASSWORD@HOST/DATABASE`. Raises `UrlError`.

    Optuna formats the URL as a template and SQLAlchemy splits it at the first @: user and password are escaped.
    """
    address, _, tail = rest.partition("/")
    if "@" in (tail if "@" not in address else tail.partition("?")[0]):
        raise UrlError(f"storage {redact_url(url)!r}: a / in the password must be written %2F")
    userinfo, at, host = address.rpartition("@")
    _require_hosts(host, url)
    user, colon, password = userinfo.partition(":")
    if any(brace in host + tail for brace in "{}"):
        raise UrlError(f"storage {redact_url(url)!r} holds a brace outside the password: remove it")
    database, _, options = tail.partition("?")
    if not database and "dbname=" not in options:
        raise UrlError(f"storage {redact_url(url)!r} names no database: end it in /NAME")
    # The driver is named, so that a URL means the same under every version of SQLAlchemy.
    named = f"postgresql+psycopg://{_escaped(user)}{colon}{_escaped(password)}{at}{host}/{tail}"
    try:
        sa.make_url(named)
    except (ValueError, sa.exc.ArgumentError):
        raise UrlError(
            f"storage {redact_url(url)!r}: the host cannot be read; an IPv6 address goes in brackets, several hosts as "
            "postgresql://USER:PASSWORD@/DATABASE?host=A:5432&host=B:5432"
        ) from None
    return StorageUrl(named)


def _require_hosts(hosts: str, url: str) -> None:
    """Raise `UrlError` where a host holds a space or a port is no number: the driver would wait for it, or show it."""
    for host in hosts.split(","):
        name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        if colon and not (port.isdecimal() and 0 < int(port) < 65536):
            raise UrlError(
                f"storage {redact_url(url)!r}: what follows the host's colon is no port; write "
                "postgresql://USER:PASSWORD@HOST:5432/DATABASE, an @ in the password as %40"
            )
        if re.search(r"\s", name or host):
            raise UrlError(f"storage {redact_url(url)!r}: there is a space in the host; remove it")


def _escaped(text: str) -> str:
    return quote(unquote(text), safe="")


def open_postgresql(url: StorageUrl, *, patience: float, opening: float, connections: Connections) -> Store:
    """Connect to the server. Raises `DatabaseUnavailable` where it does not answer within `opening` seconds."""
    database = SqlDatabase(url, "postgresql+patient", DIALECT, CONNECT_ARGS, freed=vacuum_if_due)
    return database.open(patience=patience, opening=opening, connections=connections)


BACKEND = Backend(parse, open_postgresql, sql=True)
