"""Where the machine code of `cpu_kernels` is kept: compiled once a machine, not once a process."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import numba

from lobmodels.data import cache_folder

logger = logging.getLogger(__name__)
settings: Any = numba.config  # its names are set while it is imported

SOURCES = ("cpu_kernels.py", "cpu_cells.py", "cpu_products.py")
WAIT = 120.0  # seconds that a process waits for another's compilation before it compiles for itself


@contextlib.contextmanager
def compiled_once() -> Iterator[None]:
    """What numba compiles inside goes to `machine_code_folder`, or is found there. One process compiles, others wait.

    Where that folder cannot be written, each process compiles for itself.
    """
    with contextlib.ExitStack() as stack:
        folder = machine_code_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            lock = filelock.FileLock(folder / "compile.lock")
            with contextlib.suppress(filelock.Timeout):
                stack.enter_context(lock.acquire(timeout=WAIT))
        except OSError as error:
            logger.info(
                "%s: cannot be written (%s); every process compiles its CPU kernels again", folder, error.strerror
            )
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lobtuna-kernels-")))
        before = settings.CACHE_DIR
        stack.callback(setattr, settings, "CACHE_DIR", before)
        settings.CACHE_DIR = str(folder)
        yield


def machine_code_folder() -> Path:
    """In $NUMBA_CACHE_DIR, else in the project's cache folder; one for each version of the sources, because numba looks
    at the file of the called function alone."""
    base = Path(settings.CACHE_DIR) if settings.CACHE_DIR else cache_folder() / "kernels"
    sources = b"".join(Path(__file__).with_name(name).read_bytes() for name in SOURCES)
    return base / f"lobtuna-{hashlib.blake2b(sources, digest_size=8).hexdigest()}"
