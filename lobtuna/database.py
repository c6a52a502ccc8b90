"""Opens a database and lists its studies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lobtuna.shown import Shown
from lobtuna.table import Table
from search import DEFAULT_STORAGE
from storage.url import redact_url

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from lobtuna.study import Study
    from search.study.listing import ListedStudy

STATES = ("complete", "pruned", "failed", "running", "waiting")


class Database(Shown):
    """The studies of one database: `db["joint"]` is a `Study`, iteration goes over their names.

    Attributes: `url`, which may hold a password and is never shown.
    """

    def __init__(self, url: str) -> None:
        from search.study.open import existing_storage

        self.url = url
        self._storage: BaseStorage = existing_storage(url)

    def studies(self) -> list[ListedStudy]:
        """One entry a study, replicates counted with their study; by name."""
        from search.study.listing import list_studies

        return list_studies(self._storage)

    def __getitem__(self, name: str) -> Study:
        """The study `name`. Raises `StudyNotFoundError`, which names similar ones."""
        from lobtuna.study import Study

        return Study(self.url, name)

    def __iter__(self) -> Iterator[str]:
        return (study.name for study in self.studies())

    @property
    def summary(self) -> str:
        """Where the database is, without a password."""
        return f"studies of {redact_url(self.url)}"

    def table(self) -> Table:
        """One line a study: trials by state, the best score, replicates, and what it revises."""
        rows = [
            (s.name, *(s.trials[state] for state in STATES), s.best, _finished(s.replicates), s.revision_of)
            for s in self.studies()
        ]
        return Table("studies", ("study", *STATES, "best", "replicates", "revision_of"), rows)


def open(url: str | None = None) -> Database:
    """Open the database at `url`; without one, at `LOBTUNA_STORAGE`, or else `sqlite:///lobtuna.db`.

    Raises `StudyNotFoundError` where a database file is not there, `StorageError` where it cannot be reached.
    """
    return Database(storage_url(url))


def studies(url: str | None = None) -> Table:
    """The studies of the database at `url`, one line each; the database is found as `open` finds it."""
    return open(url).table()


def storage_url(url: str | None) -> str:
    """`url`, or the one that the commands would use."""
    return url or os.environ.get("LOBTUNA_STORAGE") or DEFAULT_STORAGE


def _finished(replicates: dict[str, int] | None) -> int:
    return 0 if replicates is None else replicates["complete"]
