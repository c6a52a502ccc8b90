"""Repeats calls while a database cannot be reached: after which errors, and for how long."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy.exc
from optuna.exceptions import StorageInternalError

from storage.contact import Contact
from storage.errors import DatabaseFull, DatabaseReadOnly, DatabaseUnavailable, StorageError
from storage.url import redact

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0  # seconds between two tries
# Parts of error messages of the servers and of SQLite: these errors remain however often the call is repeated.
REFUSED = (  # something in the URL is wrong
    "authentication failed",
    "no password supplied",
    "does not exist",
    "permission denied",
    "server does not support ssl",
    ' value: "',  # libpq: invalid sslmode value: "..."
    "invalid connection option",
    "invalid integer value",
    "invalid port",
    "certificate file",
)
PERMANENT = (
    *REFUSED,
    "no such table",
    "no such column",
    "syntax error",
    "file is not a database",
    "malformed",
    "unable to open database file",
)
# Permanent before the first connection. Once the name was resolved, only the resolver can be out of reach.
UNRESOLVED = (
    "could not translate host name",
    "failed to resolve host",
    "name or service not known",
    "name resolution",
    "no address associated with hostname",
)
# The server ended this connection and said why. It may say so before the driver sees that the line is closed.
ENDED = "terminating connection due to"
READ_ONLY = ("readonly database", "read-only transaction")
FULL = ("disk is full", "no space left", "disk quota", *READ_ONLY)


def cause_of(error: BaseException) -> BaseException:
    """The driver's or SQLAlchemy's error under Optuna's wrapper."""
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        return error.__cause__
    return error


def describe(error: BaseException) -> str:
    """The first line of a database error, without the statement, its parameters or a password."""
    cause = cause_of(error)
    original = getattr(cause, "orig", None) or cause
    lines = str(original).strip().splitlines() or [type(original).__name__]
    return redact(lines[0])


def _text(error: BaseException) -> str:
    """The database's own words in lower case, without the statement and its parameters, which may hold any word."""
    cause = cause_of(error)
    return str(getattr(cause, "orig", None) or cause).lower()


def is_transient(error: BaseException, connected: bool = True) -> bool:
    """Whether the same call may succeed a little later. `connected`: this process has had a connection before."""
    cause = cause_of(error)
    if isinstance(cause, sqlalchemy.exc.DBAPIError) and cause.connection_invalidated:
        return True
    if isinstance(cause, sqlalchemy.exc.DBAPIError) and ENDED in _text(error):
        return True
    if isinstance(cause, sqlalchemy.exc.PendingRollbackError):
        return True  # the connection broke earlier in this transaction, and Optuna went on with another query
    if not isinstance(
        cause,
        (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError, sqlalchemy.exc.TimeoutError),
    ):
        return False
    text = _text(error)
    hopeless = PERMANENT + FULL if connected else PERMANENT + FULL + UNRESOLVED
    return not any(phrase in text for phrase in hopeless)


def translate(error: BaseException) -> StorageError | None:
    """The expected failure that stands for `error`, or None where `error` is a bug."""
    cause = cause_of(error)
    if isinstance(cause, sqlalchemy.exc.PendingRollbackError):
        return DatabaseUnavailable("the database does not answer: the connection broke within a transaction")
    if not isinstance(cause, sqlalchemy.exc.DBAPIError | sqlalchemy.exc.TimeoutError):
        return None
    text = _text(error)
    if any(phrase in text for phrase in FULL):
        read_only = any(phrase in text for phrase in READ_ONLY)
        told = f"the database cannot be written: {describe(error)}"
        if read_only:
            return DatabaseReadOnly(f"{told}; name one that can be, with --storage")
        return DatabaseFull(f"{told}; free space and start again")
    expected = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError, sqlalchemy.exc.TimeoutError)
    if isinstance(cause, expected) or getattr(cause, "connection_invalidated", False) or ENDED in text:
        permanent = any(phrase in text for phrase in PERMANENT)
        usual = f"the database {'cannot be used' if permanent else 'does not answer'}: {describe(error)}"
        return DatabaseUnavailable(refusal_of(error) or usual)
    return None


def refusal_of(error: BaseException) -> str | None:
    """What to tell of an error that a wrong URL explains; None for any other."""
    if not any(phrase in _text(error) for phrase in REFUSED):
        return None
    return f"the database refuses this URL: {describe(error)}; correct its user, password, name or options"


def with_retry(
    call: Callable[[], T],
    budget: float,
    *,
    what: str = "",
    retry_on: Callable[[BaseException], bool] = lambda _: False,
    connected: bool = True,
    contact: Contact | None = None,
) -> T:
    """Run `call`, again after transient errors, for at most `budget` seconds in all, waiting longer each time.

    `retry_on` recognises further errors that are worth another try. Before a first connection, `connected` is False: a
    host name that cannot be resolved is then wrong, and not tried again. `contact` records which calls got through.
    Raises `DatabaseUnavailable` or `DatabaseFull` when it gives up; any other error is raised at once.
    """
    end = time.monotonic() + budget
    wait, warned = FIRST_WAIT, False
    while True:
        try:
            answer = call()
            if contact is not None:
                contact.answered()
            return answer
        except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
            if contact is not None:
                contact.failed()
            left = end - time.monotonic()
            if left <= 0 or not (is_transient(error, connected) or retry_on(error)):
                expected = translate(error)
                if expected is None:
                    raise
                raise expected from error
            if not warned and wait > 1:
                log.warning("%s: %s; trying again for %.0f s", what or "database", describe(error), left)
                warned = True
            time.sleep(min(left, wait * random.uniform(0.5, 1.0)))
            wait = min(wait * 2, LONGEST_WAIT)
