"""Promises of SQLite's backend: the folder is named, and a transaction holds the write lock from its first moment."""

import sqlite3
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.backends.registry import open_store
from storage.errors import UrlError


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """The error names the folder and the mend; nothing is created."""
    with pytest.raises(UrlError, match=r"nowhere does not exist; create it first"):
        open_store(f"sqlite:///{tmp_path / 'nowhere' / 'a.db'}")
    assert not (tmp_path / "nowhere").exists()


def test_a_transaction_locks_before_it_reads(tmp_path: Path) -> None:
    """While one transaction has only read, another connection cannot begin to write."""
    engine = open_store(f"sqlite:///{tmp_path / 'study.db'}").engine
    assert engine is not None
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT 1"))
        other = sqlite3.connect(tmp_path / "study.db", timeout=0.1, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.close()


def test_the_clock_is_seconds_since_1970(tmp_path: Path) -> None:
    """The database's clock, which is this machine's, agrees with Python's."""
    now = open_store(f"sqlite:///{tmp_path / 'study.db'}").fleet.now()
    assert abs(now - time.time()) < 5.0
