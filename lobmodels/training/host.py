"""Settings of a training process on its host: threads, and an allocator that keeps freed memory."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import os
import sys
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # numbers of mallopt(3)


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken on `device`; for a CPU, what the kernel could give without swapping."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    known = meminfo.read_text().splitlines() if meminfo.exists() else []
    for line in known:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) // 2  # no better guess elsewhere


def own_pages(*shape: int) -> torch.Tensor:
    """A float32 tensor of zeros outside the allocator's heap: its memory goes back to the kernel with the tensor.

    For the few large arrays that live long. `tune_host` stops the heap from being trimmed, so their memory would never
    be returned from there.
    """
    count = math.prod(shape)
    if not count:
        return torch.empty(shape)
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    pages = mmap.mmap(-1, 4 * count, **private)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages refuses this; small pages work as well
            pages.madvise(mmap.MADV_HUGEPAGE)  # rows are gathered from all over it
    return torch.frombuffer(pages, dtype=torch.float32, count=count).view(shape)


def tune_host(threads: int | None = None) -> None:
    """Set torch's threads, and tell glibc to keep freed memory instead of returning it to the kernel.

    A batch on a CPU frees and takes hundreds of megabytes; each time the kernel would zero fresh pages, which costs
    about a third of the epoch (`make bench`). Without glibc only the threads are set. Call it once, early.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # musl has none
            libc.mallopt(M_MMAP_MAX, 0)
            libc.mallopt(M_TRIM_THRESHOLD, -1)  # never: the largest possible value, 2 GB, is too small
            libc.mallopt(M_TOP_PAD, 256 << 20)
