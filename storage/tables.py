"""The tables that lobtuna keeps beside Optuna's own."""

from __future__ import annotations

import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy import Engine

from storage import optuna_internals as optuna_tables
from storage.retry import cause_of

metadata = sa.MetaData()

claims = sa.Table(  # who works on a running trial, and when that worker last reported
    "lobtuna_claims",
    metadata,
    sa.Column(
        "trial_id", sa.Integer, sa.ForeignKey(optuna_tables.trials.c.trial_id, ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("token", sa.String(64), nullable=False, index=True),
    sa.Column("worker", sa.String(256), nullable=False),
    sa.Column("grace", sa.Float(53), nullable=False),  # seconds
    sa.Column("beat", sa.Float(53), nullable=False),  # seconds since 1970 by the database's clock
)
artifacts = sa.Table(
    "lobtuna_artifacts",
    metadata,
    sa.Column("artifact_id", sa.String(128), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),  # bytes
    sa.Column("created", sa.Float(53), nullable=False),  # seconds since 1970 by the database's clock
)
chunks = sa.Table(
    "lobtuna_artifact_chunks",
    metadata,
    sa.Column("artifact_id", sa.String(128), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)


# States of running trials are written and deleted by the megabyte. By default PostgreSQL vacuums a table, slowly, once
# a fifth of it is dead. Large values lie in a second table ("toast"), and weights cannot be compressed. Workers vacuum
# it themselves as well (`storage.backends.postgresql_vacuum`): PostgreSQL looks at each table once a minute only.
_CLEANED_EARLY = ("vacuum_scale_factor = 0.05", "vacuum_threshold = 50", "vacuum_cost_delay = 0")
_SETTINGS = ", ".join(f"{kind}autovacuum_{setting}" for kind in ("", "toast.") for setting in _CLEANED_EARLY)
for _statement in (
    f"ALTER TABLE {chunks.name} SET ({_SETTINGS})",
    f"ALTER TABLE {chunks.name} ALTER COLUMN body SET STORAGE EXTERNAL",
):
    sa.event.listen(chunks, "after_create", sa.DDL(_statement).execute_if(dialect="postgresql"))


def create_tables(engine: Engine) -> None:
    """Create what is missing; several processes may do so at once."""
    with engine.connect() as connection:
        present = set(sa.inspect(connection).get_table_names())
    if set(metadata.tables) <= present:
        return
    try:
        metadata.create_all(engine)
    except (sqlalchemy.exc.ProgrammingError, sqlalchemy.exc.IntegrityError, sqlalchemy.exc.OperationalError) as error:
        if not made_by_another(error):
            raise
        metadata.create_all(engine)


def made_by_another(error: BaseException) -> bool:
    """Whether another process was creating the same tables or rows at the same moment."""
    text = str(cause_of(error)).lower()
    return any(phrase in text for phrase in ("already exists", "unique constraint", "duplicate key"))
