"""What the tests of faults do to a worker's surroundings."""

import pytest
import sqlalchemy as sa

from search.cli import main
from storage.backends.registry import open_store
from storage.tables import artifacts, chunks


def main_done(arguments: list[str]) -> None:
    """Run a command that ends well."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def corrupt(url: str) -> None:
    """Change one byte of every stored artifact."""
    engine = open_store(url).engine
    assert engine is not None
    with engine.begin() as connection:
        for row in connection.execute(sa.select(chunks)).all():
            body = bytes(row.body[:-1]) + bytes([row.body[-1] ^ 1])
            own = (chunks.c.artifact_id == row.artifact_id) & (chunks.c.number == row.number)
            connection.execute(chunks.update().where(own).values(body=body))
        assert connection.scalar(sa.select(sa.func.count()).select_from(artifacts))
