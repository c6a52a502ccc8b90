"""Finished runs on disk while the database cannot take them: who holds each file, and who stores it in the end.

A worker locks the file of a run that it waits to store. The lock ends with the process, however it ends, so that every
worker in the same folder can tell a file that is waited for from one that was left behind, and stores the latter.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from optuna.storages import BaseStorage

from search.errors import RunNotSavedError, SearchError
from search.study.open import load_study
from search.work.events import Emit, Event
from search.work.file_lock import left_behind, lock
from search.work.outage import STEP, await_end, outlast
from search.work.rescue import PARTIAL, SUFFIX, SavedRun, submit, trial_of
from search.work.stopping import Stop
from storage.errors import ClaimLost, Unavailable
from storage.optuna_internals import trial_id_of
from storage.worker.background import BackgroundStorage

WRITE_AGAIN = 5.0  # seconds between two tries to write a run to disk that is in memory alone
LAST_TRIES = 8.0  # seconds after a stop in which it is still tried: `docker stop` kills 10 s after its SIGTERM

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptRun:
    """A run that is on disk until the database has it. `file` is open and locked as long as this worker waits."""

    run: SavedRun
    folder: Path
    path: Path | None = None
    file: BinaryIO | None = None
    problem: SearchError | None = None  # why it could not be written: it is in memory alone

    @staticmethod
    def save(run: SavedRun, folder: Path) -> KeptRun:
        """Write the run into `folder`, if that can be done."""
        try:
            path, file = run.write(folder, lock)
        except SearchError as error:
            return KeptRun(run, folder, problem=error)
        return KeptRun(run, folder, path, file)

    @property
    def where(self) -> str:
        """The file, or why there is none. For messages."""
        return f"the finished run is kept in {self.path}" if self.path is not None else f"{self.problem}"

    def remove(self) -> None:
        """Remove the file, once the database has the run."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        if self.file is not None:
            self.file.close()


class LastTries:
    """Ends the wait for the database with a finished run: at a stop where the run is on disk. Where it is in memory
    alone, `LAST_TRIES` seconds after the stop, and until then it is tried again to write it to disk."""

    def __init__(self, kept: KeptRun, storage: BackgroundStorage, stop: Stop, note: Callable[[str], None]) -> None:
        self.kept, self.storage, self.stop, self.note = kept, storage, stop, note
        self._end = float("inf")  # time.monotonic(), as the next one
        self._write_at = time.monotonic() + WRITE_AGAIN

    def due(self) -> bool:
        """Whether to end the wait now."""
        asked = self.stop.due()
        if self.kept.path is None and (asked or time.monotonic() >= self._write_at):
            self._write()
        if asked and self._end == float("inf"):
            self._end = time.monotonic() + LAST_TRIES
            self.storage.hurry()
        return asked and (self.kept.path is not None or time.monotonic() >= self._end)

    def sleep(self, seconds: float) -> None:
        """Wait until a stop is due; after that, a moment."""
        if self._end == float("inf"):
            self.stop.sleep(seconds)
        else:
            time.sleep(STEP)

    def _write(self) -> None:
        self._write_at = time.monotonic() + WRITE_AGAIN
        self.kept = KeptRun.save(self.kept.run, self.kept.folder)
        if self.kept.path is not None:
            self.note(self.kept.where)


def store_kept(
    kept: KeptRun, storage: BackgroundStorage, worker: str, stop: Stop, note: Callable[[str], None]
) -> KeptRun | None:
    """Wait for the database to take the finished run of the trial that `storage` holds, then remove the file.

    Returns the run as it is kept where a stop is due before the outage is over; None once the database has it. Raises
    `RunNotSavedError` where, after the last tries, the run is nowhere but in memory.
    """
    wait = LastTries(kept, storage, stop, note)
    try:
        try:
            await_end(storage, wait)
        except ClaimLost:  # another worker took the trial over during the outage, but this result is finished
            outlast(lambda: submit(kept.run, storage.inner, worker), wait, note)
    except Unavailable as error:
        if wait.kept.problem is None:
            return wait.kept
        tried = f"tried for {LAST_TRIES:g} s after the stop ({stop.reason})"
        raise RunNotSavedError(f"{wait.kept.problem}; {tried}; any worker goes on at its last stored epoch") from error
    wait.kept.remove()
    return None


class Leftovers:
    """Runs in `folder` whose worker ended before it could store them."""

    def __init__(self, folder: Path, worker: str, emit: Emit) -> None:
        self.folder, self.worker, self.emit = folder, worker, emit
        self._ignored: set[tuple[Path, float]] = set()  # files that are no run of our studies, and when they changed

    def store(self, storage: BaseStorage, study: str) -> None:
        """Store the left runs of `study`, remove their files, and emit a note for each.

        A run is left where it is if the study has no such trial. Raises `Unavailable` in an outage.
        """
        name = re.escape(study)
        for path in self._files(rf"{name}-\d+\.\d+{re.escape(PARTIAL)}"):
            with left_behind(path) as file:
                if file is not None:
                    path.unlink(missing_ok=True)  # its worker ended while it wrote the file
        for path in self._files(rf"{name}-\d+{re.escape(SUFFIX)}"):
            with left_behind(path) as file:
                if file is not None and (path, os.fstat(file.fileno()).st_mtime) not in self._ignored:
                    self._store(path, file, storage, study)

    def _files(self, form: str) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if re.fullmatch(form, path.name))

    def _store(self, path: Path, file: BinaryIO, storage: BaseStorage, study: str) -> None:
        try:
            saved = SavedRun.load(path)
        except SearchError as error:
            log.debug("%s is left alone: %s", path, error)
            saved = None
        trial = None if saved is None or saved.study != study else trial_of(saved, load_study(storage, study))
        if saved is None or trial is None or trial_id_of(trial) != saved.trial_id:
            self._ignored.add((path, os.fstat(file.fileno()).st_mtime))
            return
        try:
            number, text = submit(saved, storage, self.worker)
        except ClaimLost:  # another worker has just finished the trial: next time this one is removed
            return
        path.unlink(missing_ok=True)
        self.emit(Event("note", study, number, text=f"{path}, which an earlier worker had kept, {text}"))
