"""The id of a database: random, made once, and part of the name of every artifact that it keeps elsewhere.

Several databases may share a bucket or a folder, beside files of the user's own. The id tells which of the bytes there
are this database's. A copy of a database has the same id: only one of the two may write and sweep a shared store.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import sqlalchemy as sa

from storage.dialect import Dialect
from storage.errors import ArtifactError

_metadata = sa.MetaData()  # apart from the tables that every database has: only external artifacts need it
_table = sa.Table(
    "lobtuna_database",
    _metadata,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),  # 1: there is one row
    sa.Column("identity", sa.String(16), nullable=False),
)


def new_identity() -> str:
    """Sixteen random hexadecimal digits."""
    return secrets.token_hex(8)


def of_database(engine: sa.Engine, dialect: Dialect) -> str:
    """The id that the database holds, made by the first process that asks. May be repeated."""
    with engine.begin() as connection:
        if not sa.inspect(connection).has_table(_table.name):
            _table.create(connection)
        row = dialect.insert(_table).values(only=1, identity=new_identity())
        connection.execute(row.on_conflict_do_nothing())
        return str(connection.execute(sa.select(_table.c.identity)).scalar_one())


def of_file(path: Path) -> str:
    """The id in the file beside a journal, made by the first process that asks. Raises `ArtifactError`."""
    beside = path.with_name(f"{path.name}.id")
    partial = path.with_name(f"{path.name}.id.{secrets.token_hex(4)}.partial")
    try:
        if not beside.exists():
            partial.write_text(new_identity())
            try:
                os.link(partial, beside)  # fails where another process was first
            except FileExistsError:
                pass
            finally:
                partial.unlink()
        return beside.read_text()
    except OSError as error:
        raise ArtifactError(f"{beside}: {error.strerror}; name a folder that can be written") from error
