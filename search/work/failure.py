"""Classifies the exception that ended a trial: a reason in one line, its kind, whether the device still works."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass

import torch

from lobmodels.errors import ConfigError, DeviceMemoryError, TrainingError
from search.study.record import DIVERGED, ERROR, INVALID, MEMORY

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


@dataclass(frozen=True)
class Failure:
    """Why a trial failed. `details` is the traceback of an error that was not expected, for the trial's artifact."""

    kind: str  # one of `search.study.record.FAILURES`
    reason: str
    details: str | None = None
    broken_device: bool = False


def failure_of(error: Exception) -> Failure:
    """Classify an exception that ended a trial."""
    text = " ".join(str(error).split())
    if isinstance(error, ConfigError):
        return Failure(INVALID, text)
    if isinstance(error, (DeviceMemoryError, torch.OutOfMemoryError, MemoryError)):
        return Failure(MEMORY, _short(text or "out of memory"))
    if isinstance(error, TrainingError):
        return Failure(DIVERGED, text)
    details = "".join(traceback.format_exception(error))
    kind = MEMORY if _MEMORY.search(text) else ERROR
    reason = _short(f"{type(error).__name__}: {text}" if text else type(error).__name__)
    return Failure(kind, reason, details, _is_broken(error, text))


def _is_broken(error: Exception, text: str) -> bool:
    accelerator = isinstance(error, torch.AcceleratorError)
    return accelerator or (isinstance(error, RuntimeError) and _BROKEN_DEVICE.search(text) is not None)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
