"""An outage of the database that outlasts a worker's patience: the worker waits and goes on when it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from search.work.stopping import Stop
from storage.claims import Batch
from storage.errors import Unavailable
from storage.worker.background import BackgroundStorage

T = TypeVar("T")

STEP = 0.5  # seconds between two checks whether a stop is due
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0  # seconds between two tries; each pause is twice as long as the last


def outlast(call: Callable[[], T], stop: Stop, note: Callable[[str], None]) -> T:
    """The result of `call()`, repeated after growing pauses while the database cannot be reached.

    `note` takes a line for the user when the wait begins and when it ends. Raises the `Unavailable` of the last try
    once a stop is due.
    """
    pause, waited = FIRST_PAUSE, False
    while True:
        try:
            found = call()
        except Unavailable as error:
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


def await_end(storage: BackgroundStorage, stop: Stop) -> None:
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
