"""Measures the seconds in which one run computes, where several runs of a process take turns."""

from __future__ import annotations

import time


class Stopwatch:
    """Counts seconds from `reset` on, those between `pause` and `resume` excepted.

    So the seconds of runs that take turns add up to those of their device: a budget in hours counts each once.
    """

    def __init__(self) -> None:
        self._counted = 0.0
        self._since: float | None = None  # time.perf_counter() of the last start; None while paused

    @property
    def seconds(self) -> float:
        """Seconds counted so far."""
        return self._counted + (0.0 if self._since is None else time.perf_counter() - self._since)

    def reset(self) -> None:
        """Begin anew."""
        self._counted, self._since = 0.0, time.perf_counter()

    def pause(self) -> None:
        """Stop counting."""
        self._counted, self._since = self.seconds, None

    def resume(self) -> None:
        """Go on counting."""
        self._since = time.perf_counter()
