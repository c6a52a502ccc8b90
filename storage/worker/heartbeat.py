"""Sends beats for one running trial from a thread that survives errors and notices when the trial is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from storage.errors import StorageError

log = logging.getLogger(__name__)

BEATS_PER_GRACE = 4


class Heartbeat:
    """Calls `beat` four times within `grace` seconds until stopped; calls `lost` once if `beat` says False."""

    def __init__(self, beat: Callable[[], bool], grace: float, lost: Callable[[], None]) -> None:
        self._beat = beat
        self._interval = grace / BEATS_PER_GRACE
        self._lost = lost
        self._stopped = threading.Event()
        self.answered = time.monotonic()  # when the database last took a beat
        self._thread = threading.Thread(target=self._run, name="lobtuna-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no further beat. One that is being sent is not waited for."""
        self._stopped.set()

    def _run(self) -> None:
        silent = False
        while not self._stopped.wait(self._interval):
            try:
                alive = self._beat()
            except StorageError as error:  # an outage: the database's clock decides later
                if not silent:
                    log.warning("no beat reaches the database: %s; training goes on", error)
                silent = True
                continue
            except Exception:
                log.exception("a beat failed; the next is tried all the same")
                continue
            if silent:
                log.warning("the database answers again")
            silent = False
            self.answered = time.monotonic()
            if not alive:
                if not self._stopped.is_set():
                    self._lost()
                return
