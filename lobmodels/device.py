"""Chooses the device of a run once; float32 arithmetic where it is required; one error for lack of memory."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lobmodels.errors import DeviceError, DeviceMemoryError

# Texts of the errors by which torch's libraries, on a GPU or a CPU, report a lack of memory.
NO_MEMORY = re.compile(r"out of memory|(CUDNN|CUBLAS)\w*_ALLOC_FAILED|DefaultCPUAllocator", re.IGNORECASE)


def resolve_device(name: torch.device | str | None = None) -> torch.device:
    """The device that `name` means, in the form that its tensors report: `cpu`, or `cuda:N` with its number.

    `cuda` alone compares unequal to `cuda:0`, the device of its tensors; so every device that a caller
    passes in goes through here once. None means the current GPU, or the CPU where there is no GPU. Raises `DeviceError`
    for anything that is neither a CPU nor a GPU that torch can use here.
    """
    device = _parsed(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeviceError(
            f"device {device}: torch {torch.__version__} finds no GPU here; use device=cpu, or check that nvidia-smi "
            "lists the GPU and that torch was installed with CUDA",
            arguments=["device"],
        )
    count = torch.cuda.device_count()
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= count:
        raise DeviceError(f"device {device}: the last GPU here is cuda:{count - 1}; choose one of cuda:0 to that")
    _refuse_without_kernels(index)
    return torch.device("cuda", index)


def select_device(name: torch.device | str | None = None) -> torch.device:
    """`resolve_device`, and where it is a GPU, make it the current one of this process.

    Otherwise pinned memory would open a context of some hundred megabytes on the first GPU as well. Raises as above.
    """
    device = resolve_device(name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _parsed(name: torch.device | str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {str(name)!r} is not known: choose cpu, cuda or cuda:N, such as cuda:0")
    return device


def _refuse_without_kernels(index: int) -> None:
    """Raise where this build of torch holds no kernels for the GPU: it would only fail at the first tensor."""
    built = [re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", name) for name in torch.cuda.get_arch_list()]
    known = [(match[1], int(match[2]), int(match[3])) for match in built if match is not None]
    major, minor = torch.cuda.get_device_capability(index)
    binary = any(kind == "sm" and (x, y) <= (major, minor) and x == major for kind, x, y in known)
    source = any(kind == "compute" and (x, y) <= (major, minor) for kind, x, y in known)
    if known and not binary and not source:  # other vendors' builds list other names, which are not judged
        raise DeviceError(
            f"device cuda:{index}: torch {torch.__version__} was built for {' '.join(torch.cuda.get_arch_list())}, not "
            f"for sm_{major}{minor} ({torch.cuda.get_device_name(index)}); use device=cpu or another build of torch",
            arguments=["device"],
        )


@contextmanager
def float32_arithmetic() -> Iterator[None]:
    """Inside, recurrent kernels compute in float32. cuDNN rounds their products to TF32 (10 bits) otherwise.

    Scores that decide something are computed so, because the submission computes so.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def memory_errors(device: torch.device) -> Iterator[None]:
    """Turn every way in which torch and its libraries report a full `device` into a `DeviceMemoryError`.

    The locals of the frames that failed are cleared, so that their tensors are freed while the error is handled.
    """
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        reason = (str(error).splitlines() or ["no reason given"])[0]
        if not isinstance(error, torch.OutOfMemoryError) and not NO_MEMORY.search(reason):
            raise
        traceback.clear_frames(error.__traceback__)
        raise DeviceMemoryError(f"out of memory on {device}: {reason}") from None
