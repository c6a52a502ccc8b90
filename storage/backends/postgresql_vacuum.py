"""Lets PostgreSQL fill the room of removed artifacts again: a worker vacuums their table when a part of it is dead.

Workers replace the states of running trials all the time, and a deleted row takes room until a vacuum. PostgreSQL's own
looks at a table once a minute, and at that of a new database after two: by then the dead rows are more than the live
ones. How often it looks is the server's setting; the owner of a table may vacuum it at any time.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy import Engine

from storage.retry import describe
from storage.tables import chunks

log = logging.getLogger(__name__)

DEAD_SHARE = 0.25  # of the live bytes: as much may be dead
LEAST = 1 << 20  # bytes: fewer dead ones are left to PostgreSQL's own vacuum
PAUSE = 10.0  # least seconds between two vacuums, by whomever: old snapshots may keep one from removing anything
PIECE = 1996  # bytes of an artifact in one row of the table's "toast", where its rows' bodies are

# All of these are estimates, which lag some seconds behind; after a crash they begin at zero. Clocks may be set back.
_STATE = sa.text(f"""
    SELECT pg_stat_get_live_tuples(toast), pg_stat_get_dead_tuples(toast), abs(extract(epoch FROM clock_timestamp() -
        greatest(pg_stat_get_last_vacuum_time(toast), pg_stat_get_last_autovacuum_time(toast))))
    FROM (SELECT reltoastrelid AS toast FROM pg_class WHERE oid = '{chunks.name}'::regclass) AS own
""")
# Where somebody else vacuums it now, or this user does not own it, this does nothing.
_VACUUM = sa.text(f"VACUUM (SKIP_LOCKED) {chunks.name}")


def vacuum_if_due(engine: Engine, freed: int) -> None:
    """Vacuum the table of artifacts where it is due, after `freed` bytes were deleted. What fails here is no failure
    of the removal: PostgreSQL's own vacuum follows."""
    try:
        with engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")  # no vacuum in a transaction
            live, dead, since = connection.execute(_STATE).one()
            if is_due(live * PIECE, dead * PIECE + freed, None if since is None else float(since)):
                connection.execute(_VACUUM)
    except sqlalchemy.exc.DBAPIError as error:  # an outage, a full disk, a time limit for statements
        log.debug("the table of artifacts was not vacuumed: %s", describe(error))


def is_due(live: int, dead: int, since: float | None) -> bool:
    """Whether so many live and dead bytes call for a vacuum, `since` seconds after the last (None: there was none)."""
    return dead >= LEAST and dead > DEAD_SHARE * live and (since is None or since >= PAUSE)
