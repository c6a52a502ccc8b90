"""Ends work in good order: at a signal, at a time limit, or when the supervisor has ended."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from search.errors import SearchError

UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # SIGHUP: the terminal was closed, ssh was cut
MARGIN = 10.0  # seconds before a time limit that are kept for storing the trial and handing it back
SLACK = 1.25  # the next epoch may take this much longer than the last


def parse_duration(text: str) -> float:
    """Seconds of `8h30m`, `90m`, `45s`, `1d`, or of a plain number of seconds. Raises `SearchError`."""
    stripped = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", stripped):
        seconds = float(stripped)
    elif re.fullmatch(r"(\d+(\.\d+)?[dhms])+", stripped):
        seconds = sum(float(n) * UNITS[unit] for n, _, unit in re.findall(r"(\d+(\.\d+)?)([dhms])", stripped))
    else:
        raise SearchError(f"{text!r} is no duration: write it like 8h30m, 90m or 45s")
    if seconds <= 0:
        raise SearchError(f"{text!r} is no duration: it must be more than 0 seconds")
    return seconds


class Stop:
    """A request to stop, and its reason. One object a worker, checked after every epoch and during every wait."""

    def __init__(self, time_limit: float | None = None) -> None:
        self.reason: str | None = None
        self.deadline = None if time_limit is None else time.monotonic() + time_limit
        self._parent = os.getppid()
        self.urgent = False  # asked by a signal: a second one would end the process at once
        self.at_once = False  # leave the epoch that is under way, too
        self.follow_parent = False  # a slot ends with the supervisor that started it
        self._changed = threading.Condition()

    def ask(self, reason: str) -> None:
        """Request an end after the present epoch. The first reason counts."""
        with self._changed:
            if self.reason is None:
                self.reason = reason
            self._changed.notify_all()

    def leave(self, reason: str) -> None:
        """Request an end that does not wait for the present epoch."""
        self.at_once = True
        self.ask(reason)

    def due(self, next_epoch: float = 0.0) -> bool:
        """Whether to end now: it was requested, or an epoch of `next_epoch` seconds would exceed the time limit."""
        if self.deadline is not None and time.monotonic() + next_epoch * SLACK + MARGIN > self.deadline:
            self.ask("time limit")
        if self.follow_parent and os.getppid() != self._parent:
            self.ask("the supervisor has ended")
        return self.reason is not None

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until a stop is due."""
        end = time.monotonic() + seconds
        while not self.due() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))

    @contextmanager
    def when_asked(self, then: Callable[[], None]) -> Iterator[None]:
        """While the block runs: call `then` once, in a thread of its own, as soon as a stop is requested.

        The thread ends with the block. It would keep the worker and its data in memory, of every worker that a
        notebook runs to its end.
        """
        over = threading.Event()

        def wait() -> None:
            with self._changed:
                self._changed.wait_for(lambda: self.reason is not None or over.is_set())
            if self.reason is not None:
                then()

        threading.Thread(target=wait, name="lobtuna-stop", daemon=True).start()
        try:
            yield
        finally:
            over.set()
            with self._changed:
                self._changed.notify_all()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT and SIGHUP request a stop; a second signal ends the process at once."""

        def handle(number: int) -> None:
            if self.reason is not None:
                os._exit(128 + number)  # the claim expires, and another worker resumes at the last stored epoch
            self.urgent = True
            self.ask(signal.Signals(number).name)

        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may install handlers; elsewhere the caller requests the stop
            return
        with handling(handle):
            yield


@contextmanager
def handling(handle: Callable[[int], None]) -> Iterator[None]:
    """Call `handle` from a thread for every signal that asks for a stop.

    Python runs a signal's handler in the main thread, and that may be stuck in a call of a driver or a library. The
    signal's number is therefore read from Python's wakeup descriptor, which is written at once. A SIGHUP that `nohup`
    has switched off stays off.
    """
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    numbers = [number for number in SIGNALS if not (ignored and number == signal.SIGHUP)]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def listen() -> None:
        while received := os.read(reader, 1):
            if received[0] in numbers:
                handle(received[0])

    thread = threading.Thread(target=listen, name="lobtuna-signals", daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(writer)
        thread.join()
        os.close(reader)
