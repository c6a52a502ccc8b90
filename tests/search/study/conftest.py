"""Databases for the tests of `search.study`."""

import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from search.study.create import create_study
from search.study.open import open_study
from tests.search.study.made_replicates import SPEC, search


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a study of 24 complete search runs."""
    path = tmp_path_factory.mktemp("searched") / "study.db"
    create_study(SPEC, f"sqlite:///{path}", "f00d")
    search(open_study(f"sqlite:///{path}", "s"), 24)
    return path


@pytest.fixture
def study(searched: Path, tmp_path: Path) -> optuna.Study:
    """That study in a database of the test's own."""
    with closing(sqlite3.connect(searched)) as source, closing(sqlite3.connect(tmp_path / "study.db")) as copy:
        source.backup(copy)
    return open_study(f"sqlite:///{tmp_path / 'study.db'}", "s")


@pytest.fixture
def url(tmp_path: Path) -> str:
    """URL of a new database file."""
    return f"sqlite:///{tmp_path / 'study.db'}"
