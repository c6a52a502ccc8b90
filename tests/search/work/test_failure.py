"""An exception of a trial is classified: its kind, a reason in one line, and whether the device still works."""

from __future__ import annotations

import pytest
import torch

from lobmodels.errors import ConfigError, DeviceMemoryError, TrainingError
from search.study.record import DIVERGED, ERROR, FAILURES, INVALID, MEMORY
from search.work.failure import LONGEST, failure_of

CASES = [
    (ConfigError(["hidden_size=30 must be a multiple", "lr is missing"]), INVALID, False),
    (TrainingError("loss is nan in epoch 3: the run diverged"), DIVERGED, False),
    (DeviceMemoryError("out of memory on cuda:0"), MEMORY, False),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), MEMORY, False),
    (MemoryError(), MEMORY, False),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), MEMORY, False),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), MEMORY, True),
    (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), ERROR, True),
    (RuntimeError("CUDA error: device-side assert triggered"), ERROR, True),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), ERROR, True),
    (RuntimeError("CUDA error: unspecified launch failure"), ERROR, True),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x3 and 4x3)"), ERROR, False),
    (ZeroDivisionError("division by zero"), ERROR, False),
    (KeyError("elman"), ERROR, False),
    (OSError(28, "No space left on device"), ERROR, False),
    (AssertionError(), ERROR, False),
]


@pytest.mark.parametrize(("error", "kind", "broken"), CASES, ids=lambda v: type(v).__name__ if v else str(v))
def test_an_exception_is_classified(error: Exception, kind: str, broken: bool) -> None:
    """Every failure has a kind and a reason of one short line; only a broken device asks for another process."""
    failure = failure_of(error)
    assert (failure.kind, failure.broken_device) == (kind, broken) and kind in FAILURES
    assert failure.reason and "\n" not in failure.reason and len(failure.reason) <= LONGEST


def test_an_unexpected_error_has_its_traceback() -> None:
    """A bug can be found from the trial's artifact; an expected failure needs none."""
    try:
        {}["missing"]
    except KeyError as error:
        failure = failure_of(error)
    assert failure.reason == "KeyError: 'missing'"
    assert failure.details is not None and "test_failure.py" in failure.details
    assert failure_of(TrainingError("diverged")).details is None


def test_a_long_message_is_cut() -> None:
    """cuDNN prints whole plans; the reason stays one that a table can show."""
    assert len(failure_of(RuntimeError("x" * 5000)).reason) == LONGEST
