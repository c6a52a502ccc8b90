"""Notices a step that does not end any more: a hung driver, a dead file system, a network call without an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FACTOR = 10.0  # an epoch may take this many times as long as the slowest one so far
LEAST = 600.0  # seconds that every epoch may take
FIRST = 3600.0  # seconds for what comes before the first end of an epoch: it prepares data and compiles kernels
FACTOR_STOPPING, LEAST_STOPPING = 2.0, 60.0  # the same once a signal has asked for the end, from that moment on
TICK = 1.0  # seconds between two looks


class Watchdog:
    """Calls `hung(limit)` once, from its own thread, if a step in a `watch` block does not end within `limit` seconds.

    Outside these blocks nothing is counted: a wait for the database, or for another slot, may be long. Nor is time in
    which this process does not run, because the machine is suspended or the process is stopped. `stopping` says whether
    a signal has asked for the end.
    """

    def __init__(self, hung: Callable[[float], None], stopping: Callable[[], bool] = lambda: False) -> None:
        self._hung, self._stopping = hung, stopping
        self._slowest: float | None = None
        self._watching = False
        self._waited = 0.0  # seconds of the present step
        self._asked = 0.0  # seconds of it since a signal asked for the end
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lobtuna-watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Count the time of the block."""
        self._waited = self._asked = 0.0
        self._watching = True
        try:
            yield
        finally:
            self._watching = False

    def epoch_ended(self, seconds: float) -> None:
        """An epoch took so many seconds: the next ones are compared with it."""
        self._slowest = max(seconds, self._slowest or 0.0)

    @property
    def limit(self) -> float:
        """Seconds that the present step may take."""
        return FIRST if self._slowest is None else max(LEAST, FACTOR * self._slowest)

    @property
    def limit_stopping(self) -> float:
        """Seconds that it may still take once a signal has asked for the end."""
        return max(LEAST_STOPPING, FACTOR_STOPPING * (self._slowest or 0.0))

    def _run(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(TICK):
            now = time.monotonic()
            passed = min(now - before, 2 * TICK)  # a longer gap: the process itself was not running
            before = now
            if self._watching and self._is_over(passed):
                self._hung(self._waited)
                return

    def _is_over(self, passed: float) -> bool:
        self._waited += passed
        self._asked += passed if self._stopping() else 0.0
        return self._waited > self.limit or self._asked > self.limit_stopping
