"""Watches running trials without a claim: for how long has nobody reported anything about them?

A user's own `study.ask()` makes such trials. They get no beats, so a new report counts as one. No clock that may be set
is asked: the time is what workers have measured with their own stopwatches while they reached the database, and the
trial's claim by `NOBODY` keeps it, so that workers that stay for some minutes only add up to the whole grace.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import NamedTuple

import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy import Connection

from storage.backends.resilient import ResilientStorage, put_claim
from storage.backends.sql_rows import last_step, lock_trial
from storage.claims import NOBODY, UNCLAIMED_GRACE, Claim
from storage.tables import claims

NOTED = 60.0  # seconds: as many must be new before they are written to the claim
TOKEN = re.compile(r"step (-?\d+)(?:, (\d+) s)?")  # of the claim; earlier versions wrote no seconds


class Watched(NamedTuple):
    """The last step that was reported, and for how many seconds workers have seen no later one."""

    step: int
    seconds: float = 0.0

    def to_token(self) -> str:
        """The token of the trial's claim by `NOBODY`."""
        return f"step {self.step}, {int(self.seconds)} s"

    @staticmethod
    def of(token: str | None) -> Watched | None:
        """What a claim's token says; None where the trial has no such claim."""
        match = None if token is None else TOKEN.fullmatch(token)
        return None if match is None else Watched(int(match[1]), float(match[2] or 0))


class Unclaimed:
    """The trials without a claim that this process watches. `clock` gives the seconds of its stopwatch."""

    def __init__(self, storage: ResilientStorage, clock: Callable[[], float] = time.monotonic) -> None:
        self.storage, self.clock = storage, clock
        self._seen: dict[int, tuple[Watched, float]] = {}  # by trial id, with the moment of the last look

    def watch(self, trial_id: int, token: str | None) -> float:
        """Look at a running trial whose claim, by `NOBODY` or none, has this token; returns the seconds for which it
        was watched without a new report. May be repeated."""
        with self.storage.engine.begin() as connection:
            now = self.clock()
            step, stored = last_step(connection, trial_id), Watched.of(token)
            if stored is None or stored.step != step:
                watched = Watched(step)
                self._store(connection, trial_id, token, watched)
            else:
                watched = self._longer(trial_id, stored, now)
                if stored.seconds + NOTED <= watched.seconds <= UNCLAIMED_GRACE:  # beyond it, the trial is taken
                    self._store(connection, trial_id, token, watched)
            self._seen[trial_id] = watched, now
            return watched.seconds

    def _longer(self, trial_id: int, stored: Watched, now: float) -> Watched:
        """What is stored, or what this process has seen if that is more. Others may have watched at the same time, so
        that the two are not added; in an outage nobody could have reported, so that it does not count."""
        own, at = self._seen.get(trial_id, (stored, now))
        if own.step != stored.step:
            return stored
        connected = max(self.storage.contact.ages(), default=0.0)
        return Watched(stored.step, max(stored.seconds, own.seconds + min(now - at, connected)))

    def _store(self, connection: Connection, trial_id: int, token: str | None, watched: Watched) -> None:
        locked = lock_trial(connection, self.storage.dialect, trial_id)
        query = sa.select(claims.c.token).where(claims.c.trial_id == trial_id)
        if locked is None or locked[0] != TrialState.RUNNING or connection.scalar(query) != token:
            return  # it ended, has a claim now, or another process has written meanwhile
        claim = Claim(NOBODY, UNCLAIMED_GRACE, watched.to_token())
        connection.execute(put_claim(self.storage.dialect, trial_id, claim))
