"""Finished runs on disk while the database cannot take them: who holds each file, and who stores it in the end.

A worker locks the file of a run that it waits to store. The lock ends with the process, however it ends, so that every
worker in the same folder can tell a file that is waited for from one that was left behind, and stores the latter.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from optuna.storages import BaseStorage

from search.errors import SearchError
from search.study.open import load_study
from search.work.outage import await_end, outlast
from search.work.rescue import PARTIAL, SUFFIX, SavedRun, submit, trial_of
from search.work.stopping import Stop
from storage.errors import ClaimLost, Unavailable
from storage.optuna_internals import trial_id_of
from storage.worker.background import BackgroundStorage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptRun:
    """A run that is on disk until the database has it. `file` is open and locked as long as this worker waits."""

    run: SavedRun
    path: Path | None = None
    file: BinaryIO | None = None
    problem: SearchError | None = None  # why it could not be written: it is in memory alone

    @staticmethod
    def save(run: SavedRun, folder: Path) -> KeptRun:
        """Write the run into `folder`, if that can be done."""
        try:
            path, file = run.write(folder, _lock)
        except SearchError as error:
            return KeptRun(run, problem=error)
        return KeptRun(run, path, file)

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


def store_kept(kept: KeptRun, storage: BackgroundStorage, worker: str, stop: Stop, note: Callable[[str], None]) -> bool:
    """Wait for the database to take the finished run of the trial that `storage` holds, then remove the file.

    False where a stop is due before the outage is over: the file stays.
    """
    try:
        try:
            await_end(storage, stop)
        except ClaimLost:  # another worker took the trial over during the outage, but this result is finished
            outlast(lambda: submit(kept.run, storage.inner, worker), stop, note)
    except Unavailable:
        return False
    kept.remove()
    return True


class Leftovers:
    """Runs in `folder` whose worker ended before it could store them."""

    def __init__(self, folder: Path, worker: str) -> None:
        self.folder, self.worker = folder, worker
        self._ignored: set[tuple[Path, float]] = set()  # files that are no run of our studies, and when they changed

    def store(self, storage: BaseStorage, study: str, stored: Callable[[int, str], None]) -> None:
        """Store the left runs of `study` and remove their files; `stored` is called with number and text for each.

        A run is left where it is if the study has no such trial. Raises `Unavailable` in an outage.
        """
        name = re.escape(study)
        for path in self._files(rf"{name}-\d+\.\d+{re.escape(PARTIAL)}"):
            with _left(path) as file:
                if file is not None:
                    path.unlink(missing_ok=True)  # its worker ended while it wrote the file
        for path in self._files(rf"{name}-\d+{re.escape(SUFFIX)}"):
            with _left(path) as file:
                if file is not None and (path, os.fstat(file.fileno()).st_mtime) not in self._ignored:
                    self._store(path, file, storage, study, stored)

    def _files(self, form: str) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if re.fullmatch(form, path.name))

    def _store(
        self, path: Path, file: BinaryIO, storage: BaseStorage, study: str, stored: Callable[[int, str], None]
    ) -> None:
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
        stored(number, f"{path}, which an earlier worker had kept, {text}")


def _lock(file: BinaryIO) -> None:
    """Hold `file` for this process. Where the file system knows no locks, nobody takes it for left behind."""
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def _left(path: Path) -> Iterator[BinaryIO | None]:
    """The file, open and locked, if no living worker holds it; None where one does or the file is gone."""
    try:
        file = path.open("rb")
    except OSError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except OSError:
            same = False
        yield file if same else None
