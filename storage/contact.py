"""For how long this process has reached its database without a break.

A worker that could not reach the database cannot tell a dead worker from one that was cut off by the same outage. It
may therefore take trials from others only after it has itself been connected for the whole grace of their claims.
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
        """A call did not get through: earlier answers no longer show an unbroken connection, so forget them."""
        with self._lock:
            self._answers = []

    def ages(self) -> list[float]:
        """Seconds since each answer, the oldest first; `Contact(ages)` restores them in another process."""
        now = time.monotonic()
        with self._lock:
            return [now - answer for answer in self._answers]

    def may_judge(self, grace: float, silence: float) -> bool:
        """Whether `silence` seconds without a beat show that a worker with this `grace` is gone.

        Between two answers `gap` seconds apart there may have been an outage of that length. A living worker beats four
        times within a grace, so an outage makes it silent for at most `gap` + `grace` / 2. The worker counts as gone
        after a silence that long, if this process was in contact for that time and for at least a grace.
        """
        gap = connected = 0.0
        for age in reversed(self.ages()):
            gap, connected = max(gap, age - connected), age
            if connected >= max(grace, grace / 2 + gap):
                return silence >= grace / 2 + gap
        return False


def _thinned(answers: list[float], now: float) -> list[float]:
    """The first answer, the last, and those between that keep the gaps within `SPACING` of their age."""
    kept = [answers[-1]]
    for before, answer in zip(answers[-3::-1], answers[-2:0:-1], strict=True):
        if kept[-1] - before > SPACING * (now - before):
            kept.append(answer)
    return [answers[0], *reversed(kept)]
