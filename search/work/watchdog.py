"""Notices a run in which no epoch ends any more: a hung driver, a dead file system, a deadlock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FACTOR = 10.0  # an epoch may take this many times as long as the slowest one so far
LEAST = 600.0  # seconds that every epoch may take
FIRST = 3600.0  # seconds for the first epoch, with which none can be compared; it prepares data and compiles kernels
TICK = 1.0  # seconds between two looks


class Watchdog:
    """In its `with` block, calls `hung(limit)` once if no epoch ends within the limit, in seconds, from its own thread.

    Only time in which this process runs is counted: a suspended machine, or a stopped process, does not hang.
    """

    def __init__(
        self, hung: Callable[[float], None], *, least: float = LEAST, first: float = FIRST, tick: float = TICK
    ) -> None:
        self._hung, self._least, self._first, self._tick = hung, least, first, tick
        self._slowest: float | None = None
        self._waited = 0.0  # seconds since the last epoch ended
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lobtuna-watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    @property
    def limit(self) -> float:
        """Seconds that the present epoch may take."""
        return self._first if self._slowest is None else max(self._least, FACTOR * self._slowest)

    def epoch_ended(self, seconds: float) -> None:
        """An epoch of this many seconds has ended; the next one begins."""
        self._slowest = max(seconds, self._slowest or 0.0)
        self._waited = 0.0

    def _run(self) -> None:
        before = time.monotonic()
        while not self._stopped.wait(self._tick):
            now = time.monotonic()
            self._waited += min(now - before, 2 * self._tick)  # a longer gap: the process itself was not running
            before = now
            if self._waited > self.limit:
                self._hung(self.limit)
                return
