"""Finds running trials whose worker is gone, and queues them again or fails them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy import Connection

from storage.backends.resilient import ResilientStorage
from storage.backends.sql_rows import apply, attributes_of, last_step, lock_trial
from storage.backends.sql_unclaimed import Unclaimed
from storage.claims import DEFAULT_GRACE, FRUITLESS, LOSSES, NOBODY, Losses
from storage.fleet import Recovered
from storage.optuna_internals import trials
from storage.stopwatch import SeenBeats, ServerClock
from storage.tables import claims


class Held(NamedTuple):
    """A running trial and its claim; all but its id is None where it has none. Times in seconds."""

    trial_id: int
    token: str | None
    worker: str | None
    grace: float | None
    beat: float | None  # when the worker last reported, by the database's clock
    silence: float | None  # since then, or since the server's start, by that clock


class Look(NamedTuple):
    """The running trials at one moment: `now` by the database's clock, between two readings of time.monotonic()."""

    running: list[Held]
    before: float
    now: float
    after: float


class SqlRecovery:
    """Recovery over Optuna's tables and `lobtuna_claims`. Each step is one transaction and may be repeated.

    Beats carry the database's clock, which all workers share. Where it is set forward, every worker seems silent until
    its next beat: nobody is judged before this process has been in contact for a grace since. Where it is set back, a
    dead worker seems to have reported in the future: it is judged by how long this process has seen the same beat.
    Trials without a claim are judged by stopwatches alone.
    """

    def __init__(self, storage: ResilientStorage) -> None:
        self.storage = storage
        self.clock, self.beats, self.unclaimed = ServerClock(), SeenBeats(), Unclaimed(storage)

    def recover(self, study_id: int, max_retries: int, may_judge: Callable[[float, float], bool]) -> list[Recovered]:
        """Take back the trials of silent workers. `may_judge(grace, silence)`: whether it counts."""
        look = self.storage.retry(lambda: self._look(study_id), "recover")
        running = look.running
        self._check_clock(look)
        unchanged = self.beats.unchanged(study_id, {h.trial_id: (str(h.token), h.beat or 0.0) for h in running})
        unclaimed = {h.trial_id: self._watch(h) for h in running if h.worker in (None, NOBODY)}
        taken = [
            self.storage.retry(partial(self._take_back, held, max_retries), "recover")
            for held in running
            if held.silence is not None and held.grace is not None
            if (silence := unclaimed.get(held.trial_id, max(held.silence, unchanged[held.trial_id]))) > held.grace
            if may_judge(min(held.grace, DEFAULT_GRACE) if held.trial_id in unclaimed else held.grace, silence)
        ]
        return [trial for trial in taken if trial is not None]

    def silence(self) -> sa.ColumnElement[float]:
        """Seconds since the last beat of a claim, by the database's clock.

        While a server is down no worker can send a beat, so its start counts as a beat of every worker.
        """
        last: sa.ColumnElement[float] = claims.c.beat
        dialect = self.storage.dialect
        if dialect.server_start is not None:
            last = sa.case((last < dialect.server_start, dialect.server_start), else_=last)
        return dialect.now - last

    def _check_clock(self, look: Look) -> None:
        """If the clock was set by more than living workers can make up for, begin to count contact anew."""
        moved = self.clock.moved(look.before, look.now, look.after)
        graces = [held.grace for held in look.running if held.grace is not None]
        if graces and moved > min(graces) / 4:  # they beat four times within a grace
            self.storage.contact.failed()

    def _look(self, study_id: int) -> Look:
        query = (
            sa.select(trials.c.trial_id, claims.c.token, claims.c.worker, claims.c.grace, claims.c.beat, self.silence())
            .outerjoin(claims, claims.c.trial_id == trials.c.trial_id)
            .where(trials.c.study_id == study_id, trials.c.state == TrialState.RUNNING)
        )
        with self.storage.engine.begin() as connection:
            running = [Held(*row) for row in connection.execute(query)]
            before = time.monotonic()
            now = float(connection.execute(sa.select(self.storage.dialect.now)).scalar_one())
            return Look(running, before, now, time.monotonic())

    def _watch(self, held: Held) -> float:
        """For how many seconds workers have watched a trial without a claim, and seen no new report."""
        return self.storage.retry(lambda: self.unclaimed.watch(held.trial_id, held.token), "recover")

    def _take_back(self, held: Held, max_retries: int) -> Recovered | None:
        with self.storage.engine.begin() as connection:
            locked = lock_trial(connection, self.storage.dialect, held.trial_id)
            if locked is None or locked[0] != TrialState.RUNNING or not self._still_silent(connection, held):
                return None  # it ended, sent a beat, or was taken by another worker
            losses = Losses.of(attributes_of(connection, held.trial_id, LOSSES, FRUITLESS))
            losses = losses.one_more(last_step(connection, held.trial_id))
            worker = str(held.worker)
            batch = losses.taken_back(worker, max_retries)
            apply(connection, self.storage.dialect, held.trial_id, batch)
            return Recovered(locked[1], worker, losses.fruitless, batch.state == TrialState.FAIL)

    def _still_silent(self, connection: Connection, held: Held) -> bool:
        """Whether the trial still has the claim found silent before, and no new beat; the claim stays locked."""
        query: sa.Select[Any] = sa.select(claims.c.token).where(
            claims.c.trial_id == held.trial_id, claims.c.token == held.token, claims.c.beat == held.beat
        )
        return connection.scalar(query.with_for_update()) is not None
