"""The state of a running trial: uploaded from time to time, and restored by the worker that resumes it."""

from __future__ import annotations

import time
from collections.abc import Callable

from lobmodels.errors import CheckpointError
from lobmodels.training.run import TrainingRun
from search.study.record import StoredState
from search.study.retention import remove
from search.study.writers import write_kept_state, write_stored_state
from storage.artifacts import Artifacts, download, upload_bytes
from storage.claims import Batch
from storage.errors import ArtifactError, Unavailable
from storage.worker.background import BackgroundStorage

RATE = 40_000.0  # bytes a second of stored states that one worker may send on average: 2.4 MB a minute
SHARE = 0.05  # of the time that uploads may take: on a slow link they are rarer


class ResumeState:
    """The state after the last epoch, in memory and in the artifact store.

    `note` takes a message for the user where a state could not be stored or read; the trial goes on without it.
    """

    def __init__(
        self,
        storage: BackgroundStorage,
        trial_id: int,
        store: Artifacts,
        stored: StoredState | None,
        note: Callable[[str], None],
    ) -> None:
        self.storage, self.trial_id, self.store, self.note = storage, trial_id, store, note
        self.artifact = None if stored is None else stored.artifact  # of the last stored state
        self.latest: bytes | None = None  # the state after the last epoch
        self.epoch = 0  # epochs that it holds
        self.saved = time.monotonic()
        self.took = 0.0  # seconds of the last upload
        self._waiting: tuple[bytes, int] | None = None  # state and epoch of the next upload
        self._replaced: list[str] = []  # artifacts of earlier states, to be removed

    def take(self, run: TrainingRun) -> None:
        """Remember the state of `run` after an epoch."""
        self.latest, self.epoch = run.state(), run.epoch

    def fetch(self) -> None:
        """Bring the stored state into memory. Raises `Unavailable` where the store cannot be reached."""
        if self.latest is not None or self.artifact is None:
            return
        try:
            self.latest = download(self.store, self.artifact)
        except ArtifactError as error:
            self.note(f"{error}; starting over")

    def restore(self, run: TrainingRun) -> bool:
        """Set `run` to the last epoch that is in memory; False where there is none that can be read."""
        if self.latest is None:
            return False
        try:
            run.restore(self.latest)
        except CheckpointError as error:
            self.note(f"{error}; starting over")
            self.latest = None
            return False
        self.epoch = run.epoch
        return True

    def due(self, every: float) -> bool:
        """Whether the last upload is `every` seconds ago, or longer where states are large or the link is slow.

        With `every` 0 each epoch is uploaded, whatever its size.
        """
        return every == 0 or time.monotonic() - self.saved >= self.interval(every)

    def interval(self, every: float) -> float:
        """Seconds between two uploads of a state as large as the present one: at least `every`."""
        return max(every, len(self.latest or b"") / RATE, self.took / SHARE)

    def save(self) -> None:
        """Upload the state after the last epoch in the background, and remove the one before it.

        While an upload is still queued, in an outage, this state takes its place: no more than one waits in memory.
        """
        if self.latest is None:
            return
        self.saved = time.monotonic()
        queued, self._waiting = self._waiting is not None, (self.latest, self.epoch)
        if queued:
            return
        self.storage.put(self._upload)
        self.storage.put(self._remove)

    def keep(self) -> Batch:
        """Upload the state after the last epoch of a run that is pruned, for a second look; returns its record.

        Empty where there is none, or the store cannot be reached: then the run cannot be taken up again.
        """
        if self.latest is None:
            return Batch()
        try:
            artifact = upload_bytes(self.store, self.latest, self.trial_id)
        except Unavailable as error:
            self.note(f"the state of the pruned run was not kept: {error}")
            return Batch()
        return write_kept_state(artifact, self.epoch, len(self.latest))

    def remove(self) -> None:
        """Remove the stored state, and earlier ones that are left: the trial has ended."""
        for artifact in (*self._replaced, *([] if self.artifact is None else [self.artifact])):
            remove(self.store, artifact)

    def _upload(self) -> Batch | None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return None
        blob, epoch = waiting
        started = time.monotonic()
        try:
            artifact = upload_bytes(self.store, blob, self.trial_id)
        except Unavailable as error:  # the next upload follows in a minute; reports should not wait for this one
            self.note(f"state of epoch {epoch} was not stored: {error}")
            return None
        self.took = time.monotonic() - started
        if self.artifact is not None:
            self._replaced.append(self.artifact)
        self.artifact = artifact
        return write_stored_state(artifact, epoch)

    def _remove(self) -> None:
        """Remove the states that later ones have replaced; those that cannot be are tried again with the next."""
        while self._replaced:
            try:
                remove(self.store, self._replaced[0])
            except Unavailable:  # reports should not wait for a bucket that is out of reach
                return
            del self._replaced[0]
