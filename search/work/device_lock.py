"""Several slots share one device; a trial that ran out of memory may have the device to itself for a second try."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL = 0.1  # seconds


class DeviceLock:
    """A readers-writer lock between processes, made of two lock files a device.

    Every trial holds `users` shared; a trial that has the device to itself holds it exclusively. `gate` keeps new
    trials out while one waits for that, so that its wait ends.
    """

    def __init__(self, name: str | None = None, folder: Path | None = None) -> None:
        self.name = name  # None: no other process uses the device, and nothing is locked
        base = folder or Path(tempfile.gettempdir()) / f"lobtuna-{os.getuid()}"
        self._gate, self._users = (base / f"{name}.{part}.lock" for part in ("gate", "shared"))
        if name is not None:
            base.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def shared(self, stopped: Callable[[], bool], release: Callable[[], None]) -> Iterator[bool]:
        """Use the device together with other trials. False if a stop came while another trial had it to itself.

        Where another trial waits to have the device to itself, `release` is called before this process waits or lets it
        in: it frees the memory that this process holds there, prepared data included.
        """
        if self.name is None:
            yield True
            return
        with self._gate.open("a") as gate, self._users.open("a") as users:
            if not _try(gate.fileno(), fcntl.LOCK_SH):
                release()
            ready = _lock(gate.fileno(), fcntl.LOCK_SH, stopped) and _lock(users.fileno(), fcntl.LOCK_SH, stopped)
            fcntl.flock(gate, fcntl.LOCK_UN)
            try:
                yield ready
            finally:  # closing the files lets the other trial in
                if ready and not _try(gate.fileno(), fcntl.LOCK_SH):
                    release()

    @contextmanager
    def exclusive(self, stopped: Callable[[], bool]) -> Iterator[bool]:
        """Use the device alone: waits until the other trials end. False if a stop came first."""
        if self.name is None:
            yield True
            return
        with self._gate.open("a") as gate, self._users.open("a") as users:
            yield _lock(gate.fileno(), fcntl.LOCK_EX, stopped) and _lock(users.fileno(), fcntl.LOCK_EX, stopped)


def _lock(descriptor: int, kind: int, stopped: Callable[[], bool]) -> bool:
    """Take a lock, checking `stopped` while waiting. The system releases the locks of a dead process."""
    while not _try(descriptor, kind):
        if stopped():
            return False
        time.sleep(POLL)
    return True


def _try(descriptor: int, kind: int) -> bool:
    """Take a lock if nothing stands against it now."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
