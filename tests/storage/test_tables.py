"""Promises of lobtuna's own tables: created once whoever else creates them, gone with the trial they belong to."""

import sqlite3
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
import sqlalchemy.exc

from storage.backends.registry import open_store
from storage.claims import Claim
from storage.tables import claims, create_tables, made_by_another, metadata


def test_missing_tables_are_created_again(tmp_path: Path) -> None:
    """A database that lost one of them, or never had it, gets it; the others keep their rows."""
    store = open_store(f"sqlite:///{tmp_path / 'study.db'}")
    engine = store.engine
    assert engine is not None
    store.artifacts.write_all({"aa": b"data"})
    claims.drop(engine)
    create_tables(engine)
    assert set(metadata.tables) <= set(sa.inspect(engine).get_table_names())
    assert [entry.artifact_id for entry in store.artifacts.entries()] == ["aa"]


@pytest.mark.parametrize(
    ("text", "by_another"),
    [
        ("table lobtuna_claims already exists", True),
        ("UNIQUE constraint failed: alembic_version.version_num", True),
        ('duplicate key value violates unique constraint "pg_type_typname_nsp_index"', True),
        ("no such table: trials", False),
    ],
)
def test_what_another_process_made_is_told_from_what_fails(text: str, by_another: bool) -> None:
    """The words of SQLite and PostgreSQL for two creations at once."""
    error = sqlalchemy.exc.OperationalError("CREATE", {}, sqlite3.OperationalError(text))
    assert made_by_another(error) is by_another


def test_a_claim_goes_with_its_trial(tmp_path: Path) -> None:
    """Deleting a study through Optuna deletes the claims of its trials."""
    store = open_store(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(study_name="s", storage=store.storage)
    store.fleet.seize(study.ask()._trial_id, Claim("host:1"))
    optuna.delete_study(study_name="s", storage=store.storage)
    assert store.engine is not None
    with store.engine.connect() as connection:
        assert connection.execute(sa.select(claims)).all() == []
