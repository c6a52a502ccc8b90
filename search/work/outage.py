"""An outage of the database that outlasts a worker's patience: the worker waits and goes on when it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

from search.errors import SearchError
from storage.claims import Batch
from storage.errors import ClaimLost, DatabaseReadOnly, Unavailable
from storage.optuna_internals import trial_id_of
from storage.worker.background import BackgroundStorage

T = TypeVar("T")

log = logging.getLogger(__name__)

STEP = 0.5  # seconds between two checks whether a stop is due
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0  # seconds between two tries; each pause is twice as long as the last


class Until(Protocol):
    """What ends a wait: a worker's `Stop`, or something that waits a little longer."""

    def due(self) -> bool:
        """Whether to end the wait now."""

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until the end is due."""


def outlast(
    call: Callable[[], T], stop: Until, note: Callable[[str], None], wrote: Callable[[], bool] = lambda: True
) -> T:
    """The result of `call()`, repeated after growing pauses while the database cannot be reached.

    `note` takes a line for the user when the wait begins and when it ends. Raises the `Unavailable` of the last try
    once a stop is due, and `SearchError` for a database that may not be written and was not by this process so far, as
    `wrote` tells: that is no outage, but the wrong one.
    """
    pause, waited = FIRST_PAUSE, False
    while True:
        try:
            found = call()
        except Unavailable as error:
            if isinstance(error, DatabaseReadOnly) and not wrote():
                raise SearchError(str(error)) from error
            if not waited:
                note(f"{error}; this worker waits until it is back")
            waited = True
            stop.sleep(pause)
            if stop.due():
                raise
            pause = min(2 * pause, LONGEST_PAUSE)
            continue
        if waited:
            note("the database is back")
        return found


def end_trial(storage: BackgroundStorage, batch: Batch, stop: Until, note: Callable[[str], None]) -> None:
    """End the running trial with `batch`, also where an earlier write of it failed for good, or after an outage.

    Raises as `await_end` does.
    """
    running = storage.running
    try:
        storage.end(batch)
    except Unavailable as error:
        note(f"{error}; this worker waits until it is back")
        await_end(storage, stop)
    except ClaimLost:
        raise
    except Exception as error:  # the channel raises what ended it, and takes no further write
        log.debug("the background channel had ended: %s", error)
        assert running is not None
        storage.fleet.write(trial_id_of(running.trial), running.claim, batch)
        storage.drop()


def await_end(storage: BackgroundStorage, stop: Until) -> None:
    """Wait until the queued end of the running trial is stored.

    The background thread repeats the write, and beats go on. Raises `Unavailable` once a stop is due, `ClaimLost` where
    another worker has the trial.
    """
    while True:
        try:
            storage.end(Batch(), patience=STEP)
            return
        except Unavailable:
            if stop.due():
                raise
