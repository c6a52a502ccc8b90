"""A queue of writes that a background thread carries out, so that training never waits for a distant database."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from storage.claims import Batch
from storage.errors import DatabaseUnavailable, StorageError, Unavailable

log = logging.getLogger(__name__)

CAPACITY = 256  # jobs; a producer waits when so many are queued
PAUSE, LONGEST_PAUSE = 1.0, 15.0  # seconds between two tries of a job that failed; each is twice as long as the last

Job = Batch | Callable[[], Batch | None]  # what a callable returns is written in its place


class Channel:
    """Jobs in the order they were put; neighbouring batches are committed together.

    A batch waits up to `gather` seconds since the last commit for others to join it, unless a function or an end of the
    trial follows, or `flush` is called: epochs of a few seconds then share a transaction.

    While the database is full or cannot be reached, the thread keeps trying and nothing in the queue is lost. Any other
    failure ends the channel, and the next `put` or `flush` raises it.
    """

    def __init__(self, write: Callable[[Batch], None], capacity: int = CAPACITY, gather: float = 0.0) -> None:
        self._write = write
        self._capacity = capacity
        self._gather = gather
        self._written = float("-inf")  # time.monotonic() of the last job
        self._flushing = 0  # threads that wait until the queue is empty
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._busy = False
        self._closed = self._hurried = False
        self._failure: BaseException | None = None
        self._outage: StorageError | None = None
        self._thread = threading.Thread(target=self._run, name="lobtuna-channel", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Queue `job`, waiting while the queue is full. Raises the error that ended the channel."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._jobs) < self._capacity or self._failure is not None)
            self._raise_failure()
            last = self._jobs[-1] if self._jobs else None
            if isinstance(job, Batch) and isinstance(last, Batch):
                self._jobs[-1] = _merged(last, job)  # the queue stays short in an outage
            else:
                self._jobs.append(job)
            self._changed.notify_all()

    def flush(self, timeout: float) -> None:
        """Wait until every job is done. Raises what ended the channel, or an outage longer than `timeout` seconds."""
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: self._failure is not None or not (self._jobs or self._busy), timeout)
            self._flushing -= 1
            self._raise_failure()
            if not done:
                raise self._outage or DatabaseUnavailable(f"the database took longer than {timeout:.0f} s")

    def hurry(self) -> None:
        """From now on, leave only `PAUSE` seconds between two tries: the process has to end soon."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def check(self) -> None:
        """Raise the error that ended the channel, if it has ended."""
        with self._changed:
            self._raise_failure()

    def fail(self, error: BaseException) -> None:
        """End the channel from outside: its trial was lost."""
        with self._changed:
            self._failure = self._failure or error
            self._jobs.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Drop what is queued and tell the thread to end, without waiting for it: it may hang on a dead connection."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._changed.notify_all()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        job: Job | None = None
        pause = PAUSE
        while True:
            if job is None:
                job = self._next()
                if job is None:
                    return
            try:
                job = self._do(job)
                self._outage, pause = None, PAUSE
            except Unavailable as error:
                self._outage = error
                self._rest(pause)
                if self._closed:
                    return
                pause = min(2 * pause, LONGEST_PAUSE)
            except BaseException as error:  # handed to the thread that waits for it
                job = None
                self.fail(error)
            if job is None:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _rest(self, pause: float) -> None:
        """Wait before another try."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._hurried, pause - PAUSE)
            self._changed.wait_for(lambda: self._closed, PAUSE)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._changed.wait_for(self._ready, self._left()):
                pass
            if self._closed:
                return None
            self._busy, self._written = True, time.monotonic()
            job = self._jobs.popleft()
            self._changed.notify_all()
            return job

    def _ready(self) -> bool:
        """Whether to do the next job now, or to end."""
        if self._closed or not self._jobs:
            return self._closed
        first = self._jobs[0]
        waits = isinstance(first, Batch) and first.state is None and len(self._jobs) == 1 and not self._flushing
        return not waits or time.monotonic() >= self._written + self._gather

    def _left(self) -> float | None:
        """Seconds until a batch that is queued has waited long enough; None while nothing is queued."""
        return max(0.0, self._written + self._gather - time.monotonic()) if self._jobs else None

    def _do(self, job: Job) -> Job | None:
        """Do one job; return the write that a function has left, which is done next, also after an outage."""
        if isinstance(job, Batch):
            self._write(job)
            return None
        return job()


def _merged(first: Batch, later: Batch) -> Batch:
    both = Batch()
    both.merge(first)
    both.merge(later)
    return both
