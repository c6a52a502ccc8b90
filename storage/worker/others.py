"""A worker's copy of the other trials of its study: each finished trial is read once, running ones only in part.

Optuna's cache reads every running trial in full whenever it is asked, so that the bytes grow with the square of the
fleet. A pruner needs the finished trials alone, a sampler the parameters of the running ones, which do not change.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial

from storage.backends.sql_trials import read_changes
from storage.retry import with_retry
from storage.store import Store
from storage.wanted import ENDED_ALONE, WantedReports


class Others:
    """The trials of one study as this process knows them.

    `attributes` names the user attributes that are read of each, `wanted` says which reports. Where a pruner compares
    with running trials, every read includes these. A journal gives whole trials.
    """

    def __init__(
        self,
        store: Store,
        study_id: int,
        attributes: Sequence[str],
        patience: float,
        wanted: WantedReports = ENDED_ALONE,
    ) -> None:
        self.store, self.study_id, self.patience = store, study_id, patience
        self.attributes = tuple(attributes)
        self.wanted = self._known_with = wanted
        self.trials: list[FrozenTrial] = []  # by number; replaced, never changed: two threads may hold it
        self.version = 0  # counts the reads that found a trial new or in another state
        self._newest = -1  # the highest trial id known after the last read of unfinished trials
        self._known: dict[int, FrozenTrial] = {}  # by trial id
        self._reading = threading.Lock()  # trials of one process share this object

    def read(self, *, running: bool = True) -> list[FrozenTrial]:
        """All trials by number, after reading what has changed; changes of running trials only with `running`.

        Raises `KeyError` where the study was deleted, `Unavailable` in an outage.
        """
        with self._reading:
            return self._read(running)

    def want(self, wanted: WantedReports) -> None:
        """Read these reports from now on. Trials that are known with others are read again."""
        self.wanted = wanted

    def _read(self, running: bool) -> list[FrozenTrial]:
        wanted = self.wanted
        if wanted != self._known_with:
            self._known_with, self._known, self._newest = wanted, {}, -1
        running = running or wanted.running > 0
        changed, known = self._changes(running, wanted), self._known
        if changed is None:
            self.trials = self.store.storage.get_all_trials(self.study_id, deepcopy=False)
            self.version += 1
            return self.trials
        news = [i for i, trial in changed.items() if i not in known or known[i].state != trial.state]
        self.version += bool(news)
        self._known = {**known, **changed}
        if running:
            self._newest = max(self._known, default=-1)
        self.trials = sorted(self._known.values(), key=lambda trial: trial.number)
        return self.trials

    def _changes(self, running: bool, wanted: WantedReports) -> dict[int, FrozenTrial] | None:
        """The trials that differ from those known, by id; None where only whole trials can be read."""
        engine, ask, asked = self.store.engine, self.store.ask_changes, (self.study_id, self._known, self.attributes)
        terms: dict[str, Any] = {"newest": self._newest, "running": running, "wanted": wanted}
        if engine is not None:
            return with_retry(lambda: read_changes(engine, *asked, **terms), self.patience, what="trials")
        return None if ask is None else ask(*asked, **terms)
