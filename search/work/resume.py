"""The state of a running trial: uploaded from time to time, and restored by the worker that resumes it."""

from __future__ import annotations

import time
from collections.abc import Callable

from lobmodels.errors import CheckpointError
from lobmodels.training.run import TrainingRun
from search.study.record import StoredState
from search.study.retention import remove
from search.study.writers import write_stored_state
from storage.artifacts import Artifacts, download, upload_bytes
from storage.claims import Batch
from storage.errors import ArtifactError, Unavailable
from storage.worker.background import BackgroundStorage


class ResumeState:
    """The state after the last epoch, in memory and in the artifact store.

    `note` takes a message for the user where a state could not be stored or read; the trial goes on without it.
    """

    def __init__(
        self, storage: BackgroundStorage, store: Artifacts, stored: StoredState | None, note: Callable[[str], None]
    ) -> None:
        self.storage, self.store, self.note = storage, store, note
        self.artifact = None if stored is None else stored.artifact  # of the last stored state
        self.latest: bytes | None = None  # the state after the last epoch
        self.epoch = 0  # epochs that it holds
        self.saved = time.monotonic()

    def take(self, run: TrainingRun) -> None:
        """Remember the state of `run` after an epoch."""
        self.latest, self.epoch = run.state(), run.epoch

    def restore(self, run: TrainingRun) -> bool:
        """Set `run` to the last epoch that is in memory or stored; False where there is none that can be read."""
        try:
            blob = self.latest
            if blob is None and self.artifact is not None:
                blob = download(self.store, self.artifact)
            if blob is None:
                return False
            run.restore(blob)
        except (ArtifactError, CheckpointError) as error:
            self.note(f"{error}; starting over")
            return False
        self.latest, self.epoch = blob, run.epoch
        return True

    def due(self, every: float) -> bool:
        """Whether the last upload is `every` seconds ago."""
        return time.monotonic() - self.saved >= every

    def save(self) -> None:
        """Upload the state after the last epoch in the background, and remove the one before it."""
        blob, epoch, self.saved = self.latest, self.epoch, time.monotonic()
        if blob is None:
            return
        previous: list[str] = []
        self.storage.put(lambda: self._upload(blob, epoch, previous))
        self.storage.put(lambda: self._remove(previous))

    def remove(self) -> None:
        """Remove the stored state: the trial has ended."""
        if self.artifact is not None:
            remove(self.store, self.artifact)

    def _upload(self, blob: bytes, epoch: int, previous: list[str]) -> Batch | None:
        try:
            artifact = upload_bytes(self.store, blob)
        except Unavailable as error:  # the next upload follows in a minute; reports should not wait for this one
            self.note(f"state of epoch {epoch} was not stored: {error}")
            return None
        if self.artifact is not None:
            previous.append(self.artifact)
        self.artifact = artifact
        return write_stored_state(artifact, epoch)

    def _remove(self, previous: list[str]) -> None:
        for artifact in previous:
            remove(self.store, artifact)
