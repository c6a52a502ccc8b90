"""Settings of a training process on its host: threads, and an allocator that keeps what it has."""

from __future__ import annotations

import ctypes
import sys

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # numbers of mallopt(3)


def tune_host(threads: int | None = None) -> None:
    """Set torch's threads, and tell glibc to keep freed memory instead of returning it to the kernel.

    A batch on a CPU frees and takes hundreds of megabytes; each time the kernel would zero fresh pages, which costs
    about a third of the epoch (`make bench`). Elsewhere than on glibc only the threads are set. Call it once, early.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # musl has none
            libc.mallopt(M_MMAP_MAX, 0)
            libc.mallopt(M_TRIM_THRESHOLD, -1)  # never: its argument is an int, and two gigabytes are too few
            libc.mallopt(M_TOP_PAD, 256 << 20)
