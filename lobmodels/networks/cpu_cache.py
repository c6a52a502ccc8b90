"""Keeps the machine code of `cpu_kernels` on disk: it is compiled once a machine, not once a process.

Code that numba runs in the process that compiled it rounds a few last digits differently from the same code loaded from
a cache (seen with numba 0.68, gradients of both layers), and a run's numbers must not depend on which process was the
first on its machine. So a child process compiles, and every process of the project loads what a child has left:

- The first process holds a lock while its child compiles into a folder of its own, which gets its final name once it is
  whole. The others wait for the lock. The system releases it when its holder ends, however that happens; the next one
  then compiles from the beginning.
- A child that is killed, by the system for want of memory or by a user, is tried once more.
- Where the folder cannot be written, or the lock is not to be had for longer than its holder may need, a process has a
  child compile into a temporary folder and loads from there.

One case is left in which a process runs what it compiled itself: its child failed, was killed twice, or took longer
than `LIMIT`. A warning says so. It keeps nothing: the next process tries with a child of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
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
LIMIT = 600.0  # seconds that a child may take: about ten on an idle machine
ATTEMPTS = 2  # children, where the first is killed
WAIT = ATTEMPTS * LIMIT + 60.0  # seconds that a process waits for another: longer than one that works can need
SAY_AFTER = 10.0  # seconds of waiting after which a process says for whom it waits


class _ChildFailed(Exception):
    """No child process could compile."""


@contextlib.contextmanager
def compiled_once() -> Iterator[None]:
    """Inside, numba finds the machine code that a child process has compiled, for this process or an earlier one."""
    with contextlib.ExitStack() as stack:
        folder = machine_code_folder()
        try:
            try:
                _fill(folder)
            except OSError as error:  # `filelock.Timeout` is one
                logger.info("%s: %s; this process keeps its CPU kernels for itself", folder, error.strerror or error)
                folder = _temporary(stack) / folder.name
                _compile_into(folder)
        except _ChildFailed as error:
            logger.warning(
                "no child process could compile the CPU kernels (%s): this one does, and the last digits of its runs "
                "may differ from those of other processes",
                error,
            )
            folder = _temporary(stack)
        before = settings.CACHE_DIR
        stack.callback(setattr, settings, "CACHE_DIR", before)
        settings.CACHE_DIR = str(folder)
        yield


def machine_code_folder() -> Path:
    """A folder in $NUMBA_CACHE_DIR, else in the project's cache folder, that is whole if it exists.

    There is one for each text of `SOURCES`, processor, version of what compiles, and copy of the sources: numba looks
    code up by the path and the time of the file of the called function alone.
    """
    base = Path(settings.CACHE_DIR) if settings.CACHE_DIR else cache_folder() / "kernels"
    source = Path(__file__).with_name(SOURCES[0])
    processor = [llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features().flatten()]
    made_for = [*processor, settings.CPU_NAME, settings.CPU_FEATURES, numba.__version__, llvmlite.__version__]
    made_for += [sys.version, str(source), source.stat().st_mtime_ns]
    made_for += [Path(__file__).with_name(name).read_bytes() for name in SOURCES]
    return base / f"lobtuna-{hashlib.blake2b(repr(made_for).encode(), digest_size=8).hexdigest()}"


def _temporary(stack: contextlib.ExitStack) -> Path:
    """A folder that is removed with the stack."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lobtuna-kernels-")))


def _fill(folder: Path) -> None:
    """Have `folder` compiled, unless it is there. Raises `OSError` where it cannot be written, or where another process
    compiles for longer than `WAIT`; `_ChildFailed`."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder.parent).close()
        with contextlib.ExitStack() as stack:
            _hold(folder, stack)
            if not folder.is_dir():
                for left in folder.parent.glob(_partial(folder, "*")):  # of a process that was killed
                    shutil.rmtree(left, ignore_errors=True)
                _compile_into(folder)
    tempfile.TemporaryFile(dir=folder).close()  # numba takes nothing from a folder that it cannot write


def _hold(folder: Path, stack: contextlib.ExitStack) -> None:
    """Hold the lock of `folder` until the stack is left. Raises `filelock.Timeout`."""
    lock = filelock.FileLock(folder.with_suffix(".lock"))
    try:
        stack.enter_context(lock.acquire(timeout=SAY_AFTER))
    except filelock.Timeout:
        holders = [path.suffixes[-2].removeprefix(".") for path in folder.parent.glob(_partial(folder, "*"))]
        logger.warning("waiting for process %s, which compiles the CPU kernels", ", ".join(holders) or "(unknown)")
        stack.enter_context(lock.acquire(timeout=WAIT))


def _partial(folder: Path, process: int | str) -> str:
    """The name of the folder that the child of a process compiles into."""
    return f"{folder.name}.{process}.partial"


def _compile_into(folder: Path) -> None:
    """Have a child process compile, and name the result `folder`. Raises `_ChildFailed`, `OSError`."""
    partial = folder.with_name(_partial(folder, os.getpid()))
    for attempt in range(ATTEMPTS):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            killed = _run_child(partial)
            if killed is None:
                partial.rename(folder)
                return
            if attempt == ATTEMPTS - 1:
                raise _ChildFailed(killed)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _run_child(folder: Path) -> str | None:
    """Compile into `folder`; returns how the child was killed, None where it succeeded. Raises `_ChildFailed`."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CODE]
    try:
        child = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise _ChildFailed(f"it took longer than {LIMIT:g} s") from None
    except OSError as error:
        raise _ChildFailed(error.strerror) from error
    if child.returncode > 0:
        said = child.stderr.decode(errors="replace").strip().splitlines()
        raise _ChildFailed(said[-1] if said else f"exit {child.returncode}")
    return f"killed twice, by signal {-child.returncode}" if child.returncode else None
