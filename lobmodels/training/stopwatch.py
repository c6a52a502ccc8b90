"""Measures the seconds in which one run computes, where several runs of a process take turns."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Counts the seconds between the pauses of a generator.

    So the seconds of runs that take turns add up to those of their device: a budget in hours counts each once.
    """

    def __init__(self) -> None:
        self._counted = 0.0
        self._since: float | None = None  # time.perf_counter() of the last start; None while paused

    @property
    def seconds(self) -> float:
        """Seconds counted so far."""
        return self._counted + (0.0 if self._since is None else time.perf_counter() - self._since)

    def counting(self, job: Generator[None, None, T]) -> Generator[None, None, T]:
        """`job`, while whose steps the watch runs, from 0 on."""
        self._counted, self._since = 0.0, time.perf_counter()
        while True:
            try:
                next(job)
            except StopIteration as end:
                return end.value
            self._counted, self._since = self.seconds, None
            yield
            self._since = time.perf_counter()
