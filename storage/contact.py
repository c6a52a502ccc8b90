"""For how long this process has reached its database without a break.

A worker that could not reach the database cannot tell a dead worker from one that was cut off by the same outage. It
may therefore judge others only after it has itself been connected for as long as they are given to beat.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

RESOLUTION = 0.05  # seconds; answers closer together than this are kept as one
KEPT = 256  # answers; with more of them the old ones are thinned out
SPACING = 1 / 8  # of two answers that are kept, as a part of their age: short graces are judged by recent answers


class Contact:
    """When the database answered this process, by time.monotonic(), since the last call that failed."""

    def __init__(self, ages: Iterable[float] = ()) -> None:
        now = time.monotonic()
        self._answers = sorted(now - age for age in ages)
        self._lock = threading.Lock()

    def answered(self) -> None:
        """The database has answered a call."""
        now = time.monotonic()
        with self._lock:
            if len(self._answers) > 1 and now - self._answers[-2] < RESOLUTION:
                self._answers[-1] = now
                return
            self._answers.append(now)
            if len(self._answers) > KEPT:
                self._answers = _thinned(self._answers, now)

    def failed(self) -> None:
        """A call did not get through: whatever came before it proves nothing about the time since."""
        with self._lock:
            self._answers = []

    def ages(self) -> list[float]:
        """Seconds since each answer, the oldest first; `Contact(ages)` restores them in another process."""
        now = time.monotonic()
        with self._lock:
            return [now - answer for answer in self._answers]

    def may_judge(self, grace: float, silence: float) -> bool:
        """Whether `silence` seconds without a beat show that a worker with this `grace` is gone.

        Between two answers `gap` seconds apart an outage of that length may hide. A living worker beats four times a
        grace, so that its silence then lasts at most `gap` and half a grace. Silence of this length, at least of a
        grace, counts, if this process was in contact all that time.
        """
        gap = connected = 0.0
        for age in reversed(self.ages()):
            gap, connected = max(gap, age - connected), age
            if connected >= max(grace, grace / 2 + gap):
                return silence >= grace / 2 + gap
        return False


def _thinned(answers: list[float], now: float) -> list[float]:
    """The first, the last, and those between without which two kept ones would lie too far apart for their age."""
    kept = [answers[-1]]
    for before, answer in zip(answers[-3::-1], answers[-2:0:-1], strict=True):
        if kept[-1] - before > SPACING * (now - before):
            kept.append(answer)
    return [answers[0], *reversed(kept)]
