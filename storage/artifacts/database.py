"""Artifacts inside the study's own database, so that one URL is all a worker needs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, TypeVar

import sqlalchemy as sa
from optuna.artifacts.exceptions import ArtifactNotFound
from sqlalchemy import Engine

from storage.artifacts.entry import Artifacts, Entry
from storage.dialect import Dialect
from storage.retry import with_retry
from storage.tables import artifacts, chunks

T = TypeVar("T")

CHUNK = 1 << 20  # bytes a row: small enough for any packet limit, large enough to hide the round trips


class DatabaseArtifacts(Artifacts):
    """Optuna's artifact protocol over two tables beside Optuna's own, which `open_store` has created.

    Calls wait up to `patience` seconds for a database that cannot be reached. After a removal, `freed` is called with
    the engine and the number of bytes: some databases must be told to use their room again.
    """

    def __init__(
        self, engine: Engine, dialect: Dialect, patience: float, freed: Callable[[Engine, int], None] = lambda *_: None
    ) -> None:
        self.engine = engine
        self.dialect = dialect
        self.patience = patience
        self.freed = freed

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The bytes as a readable file. Raises `ArtifactNotFound`."""

        def read() -> bytes:
            with self.engine.begin() as connection:
                size = connection.scalar(sa.select(artifacts.c.size).where(artifacts.c.artifact_id == artifact_id))
                if size is None:
                    raise ArtifactNotFound(f"artifact {artifact_id} is not in the database")
                query = sa.select(chunks.c.body).where(chunks.c.artifact_id == artifact_id)
                bodies = connection.scalars(query.order_by(chunks.c.number)).all()
            return b"".join(bodies)

        return io.BytesIO(self._retry(read))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store all bytes in one transaction: a reader sees all of them or no artifact."""
        self.write_all({artifact_id: content_body.read()})

    def write_all(self, bodies: Mapping[str, bytes]) -> None:
        """Store several artifacts in one transaction. An id that is there already keeps its bytes: ids are fresh."""

        def store() -> None:
            with self.engine.begin() as connection:
                for artifact_id, body in bodies.items():
                    for row in _chunk_rows(artifact_id, body):
                        connection.execute(self._insert(chunks).values(row))
                heads = [
                    {"artifact_id": artifact_id, "size": len(body), "created": self.dialect.now}
                    for artifact_id, body in bodies.items()
                ]
                connection.execute(self._insert(artifacts).values(heads))

        self._retry(store)

    def remove(self, artifact_id: str) -> None:
        """Delete the artifact. Raises `ArtifactNotFound`."""

        def drop() -> int | None:
            with self.engine.begin() as connection:
                return _delete(connection, artifact_id)

        size = self._retry(drop)
        if size is None:
            raise ArtifactNotFound(f"artifact {artifact_id} is not in the database")
        self.freed(self.engine, size)

    def entries(self) -> Iterator[Entry]:
        """Every stored artifact, its age by the database's clock."""

        def read() -> list[Entry]:
            with self.engine.begin() as connection:
                rows = connection.execute(sa.select(artifacts, self.dialect.now.label("now"))).all()
            return [Entry(row.artifact_id, row.size, float(row.now) - row.created) for row in rows]

        yield from self._retry(read)

    def _insert(self, table: sa.Table) -> Any:
        return self.dialect.insert(table).on_conflict_do_nothing()

    def _retry(self, call: Callable[[], T]) -> T:
        return with_retry(call, self.patience, what="artifacts")


def _chunk_rows(artifact_id: str, body: bytes) -> Iterator[dict[str, Any]]:
    for number, start in enumerate(range(0, len(body), CHUNK)):
        yield {"artifact_id": artifact_id, "number": number, "body": body[start : start + CHUNK]}


def _delete(connection: sa.Connection, artifact_id: str) -> int | None:
    """Delete an artifact; returns its size in bytes, None where there is none."""
    own = artifacts.c.artifact_id == artifact_id
    size: int | None = connection.scalar(sa.select(artifacts.c.size).where(own))
    connection.execute(chunks.delete().where(chunks.c.artifact_id == artifact_id))
    return size if connection.execute(artifacts.delete().where(own)).rowcount else None
