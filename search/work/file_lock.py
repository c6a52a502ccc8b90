"""Locks on the files of finished runs. A lock ends with its process, however that ends: every process in the same
folder can tell a file that is waited for from one that was left behind.

On Windows, where no worker runs, and on file systems without locks nothing is locked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from search.errors import SearchError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock(file: BinaryIO) -> None:
    """Hold `file` for this process. Where the file system knows no locks, nobody takes it for left behind."""
    with suppress(OSError):
        _flock(file)


@contextmanager
def left_behind(path: Path) -> Iterator[BinaryIO | None]:
    """The file, open and locked, if no other living process holds it; None where one does or the file is gone."""
    try:
        file = path.open("rb")
    except OSError:
        yield None
        return
    with file:
        try:
            _flock(file)
            same = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except OSError:
            same = False
        yield file if same else None


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the file, which another process might store and remove at the same moment, where it is there.

    Raises `SearchError` where another process holds it.
    """
    try:
        file = path.open("rb")
    except OSError:  # whoever reads it says what is wrong
        yield
        return
    with file:
        try:
            _flock(file)
        except BlockingIOError:
            raise SearchError(f"{path} is being stored by another process, which waits for its database") from None
        except OSError:  # no locks here
            pass
        yield


def _flock(file: BinaryIO) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
