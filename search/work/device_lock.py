"""Slots share a card; one that ran out of memory may have it alone for a second try."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL = 0.1  # seconds


class Sharing:
    """Two lock files a device. Every trial holds `shared`; a trial alone holds it exclusively.

    `gate` keeps new trials out while one waits to be alone, so that it is not overtaken for ever.
    """

    def __init__(self, name: str | None = None, folder: Path | None = None) -> None:
        self.name = name  # None: nobody shares the device, and there is nothing to wait for
        base = folder or Path(tempfile.gettempdir()) / f"lobtuna-{os.getuid()}"
        self._gate, self._shared = (base / f"{name}.{part}.lock" for part in ("gate", "shared"))
        if name is not None:
            base.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def with_others(self, stopped: Callable[[], bool]) -> Iterator[bool]:
        """Hold the device together with other trials. False if a stop came while another had it alone."""
        if self.name is None:
            yield True
            return
        with self._gate.open("a") as gate, self._shared.open("a") as shared:
            ready = _lock(gate.fileno(), fcntl.LOCK_SH, stopped) and _lock(shared.fileno(), fcntl.LOCK_SH, stopped)
            fcntl.flock(gate, fcntl.LOCK_UN)
            yield ready

    @contextmanager
    def alone(self, stopped: Callable[[], bool]) -> Iterator[bool]:
        """Hold the device without others: waits until their trials end. False if a stop came first."""
        if self.name is None:
            yield True
            return
        with self._gate.open("a") as gate, self._shared.open("a") as shared:
            yield _lock(gate.fileno(), fcntl.LOCK_EX, stopped) and _lock(shared.fileno(), fcntl.LOCK_EX, stopped)


def _lock(descriptor: int, kind: int, stopped: Callable[[], bool]) -> bool:
    """Take a lock, looking up now and then whether to stop. The system drops locks of a dead process."""
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if stopped():
                return False
            time.sleep(POLL)
