"""How lobtuna's own SQL differs between databases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa


@dataclass(frozen=True)
class Dialect:
    """One database's constructs. Each SQL backend defines its own in its file and passes it to all that write SQL."""

    insert: Callable[[sa.Table], Any]  # an INSERT that knows ON CONFLICT
    now: sa.ColumnElement[float]  # the database's clock in seconds since 1970; no two workers' clocks are compared
    server_start: sa.ColumnElement[float] | None  # when the server started, by that clock; None where there is none
    # Read in a transaction, it ends the connection of a process that then falls asleep: others wait for its locks. None
    # where there is no such thing.
    wake_limit: sa.ColumnElement[str] | None = None
