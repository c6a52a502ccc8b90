"""What the dashboard's start page says about the studies of a database: the first lines of each, read again when due.

An open page asks every few seconds, and several may be open. The database is therefore read at most once in `PERIOD`,
and a study's first lines, which rank its runs, are computed again only after its trials or attributes have changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.storages import BaseStorage

from search.errors import SearchError
from search.report.headline import INTERVALS, headline
from search.report.objective import objective_name
from search.report.record import read_study
from search.study.delete import delete_by_id
from search.study.listing import find_searches
from search.study.open import SEEDS, load_study
from search.study.record import SPEC
from search.study.status import count
from storage.dashboard.server import Ours
from storage.dashboard.start import Entry, Listing
from storage.errors import DashboardError, StorageError
from storage.optuna_internals import FrozenStudy, study_id_of
from storage.retry import describe

PERIOD = 4.0  # seconds; a page asks every ten
MOST = 20  # studies with first lines; older ones are a name and a link
STATES = ("complete", "pruned", "failed", "running", "waiting")
FOREIGN = "Made by plain Optuna: lobtuna has no first lines for it, its page has Optuna's plots."


def dashboard_of(storage: BaseStorage, start: Callable[[], Listing] | None = None) -> Ours:
    """What the dashboard of `storage` shows and does in our way; `start` in the place of a `StartReader`."""
    return Ours(start or StartReader(storage), objective_name, partial(delete_by_id, storage))


class StartReader:
    """Calling it returns the listing as last read, or reads it. Threads that call together wait for one reading.

    Raises `DashboardError` with one line where the database cannot be read; that, too, is remembered for `PERIOD`.
    """

    def __init__(self, storage: BaseStorage, clock: Callable[[], float] = time.monotonic) -> None:
        self._storage, self._clock = storage, clock
        self._lock = threading.Lock()
        self._found: Listing | DashboardError | None = None
        self._read_at = 0.0
        self._entries: dict[int, tuple[Any, Entry]] = {}  # by study id: what the entry depends on, the entry

    def __call__(self) -> Listing:
        with self._lock:
            if self._found is None or self._clock() - self._read_at >= PERIOD:
                self._found = self._read()
                self._read_at = self._clock()
            if isinstance(self._found, DashboardError):
                raise DashboardError(str(self._found))
            return self._found

    def _read(self) -> Listing | DashboardError:
        try:
            return self._listing()
        except StorageError as error:
            return DashboardError(f"The database cannot be read: {_first_line(error)}")
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError) as error:
            return DashboardError(f"The database cannot be read: {describe(error)}")

    def _listing(self) -> Listing:
        every = {study.study_name: study for study in self._storage.get_all_studies()}
        searches = sorted(find_searches(every), key=study_id_of, reverse=True)
        seeds = {name.removesuffix(SEEDS): study_id_of(study) for name, study in every.items() if name.endswith(SEEDS)}
        entries = [self._entry(study, seeds.get(study.study_name)) for study in searches[:MOST]]
        entries += [Entry(study_id_of(study), study.study_name) for study in searches[MOST:]]
        remark = f"The newest study first; {INTERVALS}."
        return Listing(entries, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", remark if searches else "")

    def _entry(self, study: FrozenStudy, seeds: int | None) -> Entry:
        study_id = study_id_of(study)
        try:
            trials = self._count(study_id)
            # Workers store an attribute about once a minute, with their note: hours of running trials stay up to date.
            state = (trials, None if seeds is None else self._count(seeds), study.user_attrs)
            known = self._entries.get(study_id)
            if known is None or known[0] != state:
                known = self._entries[study_id] = (state, self._compute(study, seeds, trials))
            return known[1]
        except KeyError:
            return Entry(study_id, study.study_name, problem="Deleted while it was read.")

    def _count(self, study_id: int) -> dict[str, int]:
        return count(self._storage.get_all_trials(study_id, deepcopy=False))

    def _compute(self, study: FrozenStudy, seeds: int | None, trials: dict[str, int]) -> Entry:
        name, study_id = study.study_name, study_id_of(study)
        counted = ("Trials", ", ".join(f"{trials[state]} {state}" for state in STATES if trials[state]) or "none yet")
        if SPEC not in study.user_attrs:
            return Entry(study_id, name, lines=(counted, ("", FOREIGN)), replicates_id=seeds)
        try:
            record = read_study(load_study(self._storage, name))
        except SearchError as error:  # such as a study of a newer lobtuna: the others are shown all the same
            return Entry(study_id, name, lines=(counted,), replicates_id=seeds, problem=_first_line(error))
        first = headline(record)
        lines = (counted, ("Budget", first.budget), ("What now", f"{first.step.kind}: {first.step.reason}"))
        return Entry(study_id, name, record.spec.question, first.cells(), lines, first.step.command, seeds)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
