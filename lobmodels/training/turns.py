"""Lets several threads compute on one device in turns: all steps run in one thread, one of each job after another.

A small network leaves most of a GPU idle. Steps of several runs, each issued on a stream of its own, fill it. What a
run does between its steps (reports, uploads, the next trial) stays in the run's own thread and delays no other.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Job = Generator[None, None, T]  # computes up to each `yield`, where other jobs may have their turn; returns its result
Around = Callable[[], AbstractContextManager[Any]]  # entered for each step of a job: its stream, a watchdog

POLL = 1e-4  # seconds between two looks whether the device is done
CHECK = 0.1  # seconds between two looks whether anybody may still hand in a job


class JobDropped(Exception):
    """The job was ended before its time, for no fault of its own: `Turns.drop` was called."""


@dataclass(eq=False)
class _Entry:
    job: Job[Any]
    around: tuple[Around, ...]
    ended: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None

    def advance(self) -> bool:
        """Take one step; whether it was the last."""
        try:
            next(self.job)
        except StopIteration as end:
            self.result = end.value
            return True
        return False


class Turns:
    """Jobs that take turns, a step each, in the thread that calls `serve`.

    `ends_all` says after which errors of one job none can go on: the device itself is lost.
    """

    def __init__(self, ends_all: Callable[[Exception], bool] = lambda _: False) -> None:
        self._ends_all = ends_all
        self._jobs: deque[_Entry] = deque()
        self._changed = threading.Condition()
        self._current: _Entry | None = None
        self._dropped: str | None = None

    def do(self, job: Job[T], *around: Around) -> T:
        """Hand in `job` from another thread than the one that serves, and wait for its result.

        Each of its steps is taken inside the contexts `around`. Raises what the job raises, and `JobDropped`.
        """
        entry = _Entry(job, around)
        with self._changed:
            if self._dropped is not None:
                raise JobDropped(self._dropped)
            self._jobs.append(entry)
            self._changed.notify_all()
        entry.ended.wait()
        if entry.error is not None:
            raise entry.error
        return entry.result

    def call(self, function: Callable[[], T], *around: Around) -> T:
        """`do` for a function: a job of one step."""
        return self.do(one_step(function), *around)

    def serve(self, expected: Callable[[], bool]) -> None:
        """Take the steps of all jobs, while there are any or more are `expected`."""
        while (entry := self._next(expected)) is not None:
            self._step(entry)

    def drop(self, reason: str) -> None:
        """End all jobs but the one whose step is being computed, and take no further ones: the device is lost.

        Called from any thread, also while a step hangs.
        """
        with self._changed:
            self._dropped = reason
            dropped = [entry for entry in self._jobs if entry is not self._current]
            self._jobs.clear()
        for entry in dropped:
            entry.error = JobDropped(reason)
            entry.ended.set()

    def _next(self, expected: Callable[[], bool]) -> _Entry | None:
        with self._changed:
            while not self._jobs:
                if not expected():
                    return None
                self._changed.wait(CHECK)
            self._current = self._jobs.popleft()
            return self._current

    def _step(self, entry: _Entry) -> None:
        """One step of a job, which then waits behind the others or has ended."""
        try:
            with ExitStack() as stack:
                for context in entry.around:
                    stack.enter_context(context())
                over = entry.advance()
        except Exception as error:  # it belongs to whoever waits for the job
            over, entry.error = True, error
            if self._ends_all(error):
                self.drop(f"another run lost the device: {error}")
        if not over:
            self._again(entry)
            return
        with self._changed:
            self._current = None
        entry.ended.set()

    def _again(self, entry: _Entry) -> None:
        with self._changed:
            self._current = None
            if self._dropped is None:
                self._jobs.append(entry)
                return
        entry.error = JobDropped(self._dropped)
        entry.ended.set()


def until_computed(device: torch.device) -> Job[None]:
    """Pause until `device` has computed what was asked of its current stream. The host then reads results without a
    wait, and has issued steps of other jobs meanwhile."""
    if device.type != "cuda":
        return
    asked = torch.cuda.Event()
    asked.record(torch.cuda.current_stream(device))
    while not asked.query():
        yield
        time.sleep(POLL)


def one_step(function: Callable[[], T]) -> Job[T]:
    """A job that calls `function` in its only step."""
    return function()
    yield


def result_of(job: Job[T]) -> T:
    """Take all steps of `job`, beside no other."""
    while True:
        try:
            next(job)
        except StopIteration as end:
            found: T = end.value
            return found
