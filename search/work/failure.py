"""Classifies the exception that ended a trial (kind, reason in one line, does the device still work) and records it."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lobmodels.errors import ConfigError, DeviceMemoryError, TrainingError
from lobmodels.training.run import TrainingRun
from search.errors import EXPECTED, SpaceError, told
from search.study.record import DIVERGED, ERROR, INVALID, MEMORY, WORST
from search.study.writers import write_failure, write_training
from search.work.rescue import store_files
from storage.artifacts import Artifacts
from storage.claims import Batch

# After these errors every further call on the device fails in this process; a fresh process can use it again.
_BROKEN_DEVICE = re.compile(
    r"CUDA error|cuDNN error|CUDNN_STATUS|CUBLAS_STATUS|device-side assert|illegal memory access|"
    r"unspecified launch failure|device is lost",
    re.IGNORECASE,
)
_MEMORY = re.compile(
    r"out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|can't allocate", re.IGNORECASE
)
LONGEST = 300  # characters of a reason

log = logging.getLogger(__name__)

Note = Callable[[str], None]  # takes a message for the user


@dataclass(frozen=True)
class Failure:
    """Why a trial failed. `details` is the traceback of an error that is not one of the `EXPECTED`."""

    kind: str  # one of `search.study.record.FAILURES`
    reason: str
    details: str | None = None
    broken_device: bool = False


def failure_of(error: Exception) -> Failure:
    """Classify an exception that ended a trial."""
    text = " ".join(str(error).split())
    if isinstance(error, (ConfigError, SpaceError)):
        return Failure(INVALID, _short(text))
    if isinstance(error, (DeviceMemoryError, torch.OutOfMemoryError, MemoryError)):
        return Failure(MEMORY, _short(text or "out of memory"))
    if isinstance(error, TrainingError):
        return Failure(DIVERGED, _short(text))
    if isinstance(error, EXPECTED):
        return Failure(ERROR, _short(" ".join(told(error).split())))
    details = "".join(traceback.format_exception(error))
    kind = MEMORY if _MEMORY.search(text) else ERROR
    reason = _short(f"{type(error).__name__}: {text}" if text else type(error).__name__)
    return Failure(kind, reason, details, _is_broken(error, text))


@dataclass(frozen=True)
class Upload:
    """Where the traceback of a trial goes, and what its file's name begins with."""

    store: Artifacts
    trial_id: int
    name: str


def batch_of(failure: Failure, run: TrainingRun | None, upload: Upload, note: Note, worst: float = WORST) -> Batch:
    """The end of a failed trial: reason, history so far, and the traceback as an artifact, NAME-traceback.txt.

    Recording may fail with the error that ended the trial. The reason is always recorded; what cannot be is noted.
    """
    batch = Batch()
    if run is not None:
        history = lambda: write_training(run.history, run.best_epoch, failure.reason)  # noqa: E731
        batch.merge(_attempted(history, "the history was not recorded", note))
    if failure.details is not None:
        files = [(f"{upload.name}-traceback.txt", "text/plain", failure.details.encode())]
        stored = lambda: store_files(upload.store, files, upload.trial_id, checkpoint=False)  # noqa: E731
        batch.merge(_attempted(stored, "the traceback was not stored", note))
    batch.merge(write_failure(failure.kind, failure.reason, 0 if run is None else run.epoch, worst))
    return batch


def _attempted(write: Callable[[], Batch], what: str, note: Note) -> Batch:
    try:
        return write()
    except Exception as error:
        log.debug("%s", what, exc_info=True)
        note(f"{what}: {failure_of(error).reason}")
        return Batch()


def _is_broken(error: Exception, text: str) -> bool:
    accelerator = isinstance(error, torch.AcceleratorError)
    return accelerator or (isinstance(error, RuntimeError) and _BROKEN_DEVICE.search(text) is not None)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
