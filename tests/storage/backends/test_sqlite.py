"""Promises of SQLite's backend: the folder is named, and a transaction holds the write lock from its first moment."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from storage.backends.registry import open_storage, open_store
from storage.backends.sqlite import TRIGGER
from storage.claims import Batch, Claim
from storage.errors import UrlError
from storage.tables import claims
from storage.worker.background import BackgroundStorage
from tests.storage.bench import Bench, made_by_plain_optuna


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
    assert abs(now - time.time()) < 60.0


def plain_deletion(url: str) -> None:
    """Delete the study `s` as a script does that knows Optuna alone."""
    optuna.delete_study(study_name="s", storage=url)


@pytest.mark.parametrize(
    "deletion", [plain_deletion, lambda url: optuna.delete_study(study_name="s", storage=open_storage(url))]
)
def test_no_id_is_given_out_again(tmp_path: Path, deletion: Callable[[str], None]) -> None:
    """A worker of a deleted study does not find the next study under the id that it knows, whoever deletes."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    first = Bench(url)
    trial_id = first.mine.ask()._trial_id
    first.storage.drop()
    deletion(url)
    again = Bench(url)
    assert again.study._study_id != first.study._study_id and again.mine.ask()._trial_id != trial_id
    with pytest.raises(KeyError):
        first.mine.ask()
    again.storage.drop()


def held(bench: Bench) -> int:
    """The number of claims in the file."""
    assert bench.store.engine is not None
    with bench.store.engine.connect() as connection:
        return len(connection.execute(sa.select(claims)).all())


def test_a_study_that_plain_optuna_deletes_leaves_no_claims(tmp_path: Path) -> None:
    """The file itself removes them, whoever deletes, and the ids that SQLite gives out again are free."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    made_by_plain_optuna(url)
    first = Bench(url)
    trial_id = first.mine.ask()._trial_id
    first.storage.drop()
    assert held(first) == 1
    plain_deletion(url)
    assert held(first) == 0
    again = Bench(url)
    trial = again.mine.ask()
    assert trial._trial_id == trial_id, "the id is used again, or this test shows nothing"
    again.mine.tell(trial, 1.0)


def test_claims_left_by_an_earlier_version_are_removed(tmp_path: Path) -> None:
    """A file in which plain Optuna deleted studies before is repaired when it is opened; until then a worker that
    has it open takes the ids all the same."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    made_by_plain_optuna(url)
    old = Bench(url)
    assert old.store.engine is not None
    with old.store.engine.begin() as connection:
        connection.execute(sa.text(f"DROP TRIGGER {TRIGGER}"))
    trial_id = old.mine.ask()._trial_id
    old.storage.drop()
    plain_deletion(url)
    assert held(old) == 1
    reader = optuna.create_study(study_name="s", storage=old.inner, direction="maximize")
    storage = BackgroundStorage(old.store, reader._study_id, Claim("host:2"))
    trial = optuna.Study("s", storage).ask()
    assert trial._trial_id == trial_id
    storage.end(Batch(state=optuna.trial.TrialState.FAIL))
    with sqlite3.connect(tmp_path / "study.db") as plain:
        plain.execute("INSERT INTO lobtuna_claims VALUES (99, 'token', 'host:9', 60.0, 0.0)")
    plain.close()
    assert held(Bench(url)) == 0
