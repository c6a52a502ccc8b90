"""Promises of opening a SQL database: one line for what goes wrong, own tables beside Optuna's, any number at once."""

import threading
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from storage.backends.registry import open_store
from storage.errors import DatabaseUnavailable, StorageError
from storage.optuna_internals import version_info
from storage.tables import metadata
from tests.servers import free_port


def test_a_database_that_is_not_there_is_one_line_without_the_password() -> None:
    """No host, no port, no patience: the error says so and hides the password."""
    for url in (f"postgresql://me:pw-7c1@127.0.0.1:{free_port()}/db", "postgresql://me:pw-7c1@nowhere.invalid/db"):
        with pytest.raises(DatabaseUnavailable) as caught:
            open_store(url, patience=0.3)
        assert "pw-7c1" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Some other file is named in the error."""
    (tmp_path / "notes.db").write_text("hello " * 1000)
    with pytest.raises(StorageError, match="not a database"):
        open_store(f"sqlite:///{tmp_path / 'notes.db'}")


def test_a_database_of_another_optuna_is_one_line(tmp_path: Path) -> None:
    """Optuna's refusal of tables of another version arrives as an expected failure that names the database."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    engine = open_store(url).engine
    assert engine is not None
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'v9.9.9'"))
    with pytest.raises(StorageError, match=r"study\.db"):
        open_store(url)


def test_stores_opened_at_once_share_one_set_of_tables(postgres_url: str) -> None:
    """Six threads that open an empty database at the same moment all succeed."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            open_store(postgres_url)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    engine = open_store(postgres_url).engine
    assert engine is not None
    assert set(metadata.tables) <= set(sa.inspect(engine).get_table_names())


def test_plain_optuna_reads_what_lobtuna_wrote(tmp_path: Path) -> None:
    """The tables beside Optuna's do not disturb it: a plain URL opens the same study."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="s", storage=open_store(url).storage)
    study.tell(study.ask(), 1.0)
    assert optuna.load_study(study_name="s", storage=url).best_value == 1.0


def test_a_database_of_another_optuna_is_refused(tmp_path: Path) -> None:
    """Optuna 4 and 5 read each other's times wrongly: the one that set the tables up is named, and the way out."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    engine = open_store(url).engine
    assert engine is not None
    with engine.begin() as connection:
        connection.execute(version_info.update().values(library_version="4.2.1"))
    with pytest.raises(StorageError, match=r"optuna 4\.2\.1 set this database up, this is optuna 5"):
        open_store(url)
