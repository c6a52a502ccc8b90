"""A study and one worker's means to work on it, for tests of storages."""

import dataclasses
import subprocess
import sys

import optuna
import sqlalchemy as sa

from storage.backends.registry import open_store
from storage.backends.sql_fleet import SqlFleet
from storage.claims import Claim
from storage.contact import Contact
from storage.store import Store
from storage.tables import claims
from storage.worker.background import BackgroundStorage


class Bench:
    """A study and the means of one worker."""

    def __init__(self, url: str, grace: float = 60.0) -> None:
        self.url, self.store = url, open_store(url)
        self.inner = self.store.storage
        self.study = optuna.create_study(study_name="s", storage=self.inner, direction="maximize", load_if_exists=True)
        self.storage = BackgroundStorage(self.store, self.study._study_id, Claim("host:1", grace))
        self.mine = optuna.Study("s", self.storage, sampler=optuna.samplers.RandomSampler(seed=1))

    def fresh(self, number: int = 0) -> optuna.trial.FrozenTrial:
        """A trial as the database has it."""
        return optuna.load_study(study_name="s", storage=self.inner).trials[number]


def silence(bench: Bench, seconds: float) -> None:
    """Move every beat into the past."""
    assert bench.store.engine is not None
    with bench.store.engine.begin() as connection:
        connection.execute(sa.update(claims).values(beat=claims.c.beat - seconds))


def connected(store: Store) -> None:
    """Let this process have been in contact with the database, second by second, for two minutes."""
    assert isinstance(store.fleet, SqlFleet)
    store.fleet.storage.contact = Contact([float(age) for age in range(120)])


def long_up(store: Store) -> None:
    """Let the server have been up since before any beat: its start, which counts as a beat, was seconds ago."""
    assert isinstance(store.fleet, SqlFleet)
    store.fleet.storage.dialect = dataclasses.replace(store.fleet.dialect, server_start=None)


def made_by_plain_optuna(url: str) -> None:
    """Create the file's tables as a script does that knows Optuna alone: in them ids are given out again."""
    command = f"import optuna; optuna.storages.RDBStorage({url!r})"
    subprocess.run([sys.executable, "-c", command], check=True)
