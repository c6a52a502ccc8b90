"""How many runs of a worker may train at once: fewer after one of them found too little memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

CHECK = 0.2  # seconds between two looks whether a stop is due
WELL = 8  # runs that must end before one more at once is tried again after a lack of memory


class Room:
    """Places for at most `most` runs at once, of which `limit` may be taken at present.

    A run that found too little memory leaves its place with `set_aside`, which lowers the limit, and is the next to get
    one with `again`. So it goes on from its last epoch when fewer runs train, and is not lost.
    """

    def __init__(self, most: int, limit: int | None = None) -> None:
        self.most = most
        self.limit = most if limit is None else limit
        self.taken = 0
        self._aside = 0  # runs that wait for their place again
        self._well = 0  # runs that have ended since the limit last changed
        self._changed = threading.Condition()

    def enter(self, stopped: Callable[[], bool]) -> bool:
        """Take a place for a new run, waiting for one. False once a stop is due."""
        return self._take(lambda: self._aside == 0, stopped)

    def leave(self) -> None:
        """Give the place back: its run has ended."""
        with self._changed:
            self.taken -= 1
            self._well += 1
            if self._well >= WELL and self.limit < self.most:
                self._set(self.limit + 1)
            self._changed.notify_all()

    def set_aside(self) -> bool:
        """Give a place back after a lack of memory, so that fewer runs train at once.

        False, and nothing is changed, where the run was the only one: fewer cannot help it.
        """
        with self._changed:
            if self.taken <= 1:
                return False
            self._set(min(self.limit, self.taken - 1))
            self.taken -= 1
            self._aside += 1
            self._changed.notify_all()
            return True

    def again(self, stopped: Callable[[], bool]) -> bool:
        """Wait for a place after `set_aside`; no new run gets one before. False once a stop is due: the place is then
        taken all the same, so that every run leaves once."""
        ready = self._take(lambda: True, stopped)
        with self._changed:
            self.taken += not ready
            self._aside -= 1
            self._changed.notify_all()
        return ready

    def empty(self, but: int, timeout: float) -> None:
        """Wait until no more than `but` runs are here, no longer than `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.taken + self._aside <= but, timeout)

    def allow(self, limit: int) -> None:
        """From now on so many runs may train at once, `most` at most."""
        with self._changed:
            self.most = min(self.most, limit)
            self._set(self.most)
            self._changed.notify_all()

    def _take(self, mine: Callable[[], bool], stopped: Callable[[], bool]) -> bool:
        with self._changed:
            while not (self.taken < self.limit and mine()):
                if stopped():
                    return False
                self._changed.wait(CHECK)
            self.taken += 1
            return True

    def _set(self, limit: int) -> None:
        self.limit, self._well = limit, 0
