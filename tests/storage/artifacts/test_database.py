"""Promises of artifacts in the database: all or none of several, bytes of an id never change, chunks leave with it."""

import io
from pathlib import Path

import pytest
import sqlalchemy as sa
import sqlalchemy.exc

from storage.artifacts import Artifacts, download, upload_bytes
from storage.artifacts.database import CHUNK
from storage.backends.registry import open_store
from storage.store import Store
from storage.tables import chunks


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in an SQLite file."""
    return open_store(f"sqlite:///{tmp_path / 'study.db'}")


def rows(store: Store) -> int:
    """How many chunks the database holds."""
    assert store.engine is not None
    with store.engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(chunks)) or 0


def test_several_are_stored_together_or_not_at_all(store: Store) -> None:
    """When one of several cannot be written, none of them is there."""
    artifacts: Artifacts = store.artifacts
    with pytest.raises(sqlalchemy.exc.StatementError):
        artifacts.write_all({"aa": b"x" * 10, "bb": [None]})  # type: ignore[dict-item]
    assert list(artifacts.entries()) == []
    assert rows(store) == 0


def test_the_bytes_of_an_id_do_not_change(store: Store) -> None:
    """A second write under one id, as after a lost answer, leaves what is there."""
    for body in (b"first", b"second"):
        store.artifacts.write("aa", io.BytesIO(body))
    assert store.artifacts.open_reader("aa").read() == b"first"


def test_removing_leaves_no_chunk(store: Store) -> None:
    """Three rows of one artifact go with it."""
    artifact_id = upload_bytes(store.artifacts, b"x" * (2 * CHUNK + 1))
    assert rows(store) == 3
    assert len(download(store.artifacts, artifact_id)) == 2 * CHUNK + 1
    store.artifacts.remove(artifact_id)
    assert rows(store) == 0
