"""Keeps the machine code of `cpu_kernels` on disk: it is compiled once a machine, not once a process.

A child process compiles, and every other process loads what it left: code that numba runs in the process that compiled
it rounds a few last digits differently from the same code loaded from the cache (seen with numba 0.68, gradients of
both layers), and a run's numbers must not depend on which process was the first on its machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import llvmlite.binding
import numba

from lobmodels.data import cache_folder

logger = logging.getLogger(__name__)
settings: Any = numba.config  # numba sets its attributes at import, which type checkers do not see

SOURCES = ("cpu_kernels.py", "cpu_cells.py", "cpu_products.py")
CODE = "from lobmodels.networks import cpu_kernels"  # what the child process runs
WAIT = 120.0  # seconds that a process waits for another's compilation before it compiles for itself


@contextlib.contextmanager
def compiled_once() -> Iterator[None]:
    """Inside, numba keeps its machine code in `machine_code_folder`. One process compiles, others wait and load it.

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
                _compile_in_a_child(folder)
        except OSError as error:
            logger.info(
                "%s: cannot be written (%s); every process compiles its CPU kernels again", folder, error.strerror
            )
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lobtuna-kernels-")))
        before = settings.CACHE_DIR
        stack.callback(setattr, settings, "CACHE_DIR", before)
        settings.CACHE_DIR = str(folder)
        yield


def _compile_in_a_child(folder: Path) -> None:
    """Fill `folder` for this processor, these versions and this copy of the sources, once: numba looks code up by the
    path and the time of its source. Where that fails, this process compiles."""
    made_for = [llvmlite.binding.get_host_cpu_name(), numba.__version__, llvmlite.__version__, sys.version]
    source = Path(__file__).with_name(SOURCES[0])
    made_for += [str(source), str(source.stat().st_mtime_ns)]
    stamp = folder / f"compiled-{hashlib.blake2b(repr(made_for).encode(), digest_size=8).hexdigest()}"
    if stamp.exists():
        return
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CODE]
    try:
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        logger.info("no child process could compile the CPU kernels (%s); this one does", error)
        return
    stamp.touch()


def machine_code_folder() -> Path:
    """A folder in $NUMBA_CACHE_DIR, else in the project's cache folder; one for each version of `SOURCES`, because
    numba checks only the file of the called function for changes."""
    base = Path(settings.CACHE_DIR) if settings.CACHE_DIR else cache_folder() / "kernels"
    sources = b"".join(Path(__file__).with_name(name).read_bytes() for name in SOURCES)
    return base / f"lobtuna-{hashlib.blake2b(sources, digest_size=8).hexdigest()}"
