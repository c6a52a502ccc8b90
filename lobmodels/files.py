"""Writes files: each appears whole or not at all, and the error names the argument to change."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from lobmodels.errors import OutputError

TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: the bytes do not depend on when they are written


def write_atomically(path: Path, data: bytes | str, argument: str = "output") -> None:
    """Write `data` to `path`, or leave what was there; text is UTF-8. Missing folders are made.

    Raises `OutputError`, which asks for another `argument`, where the folder or the disk does not take it.
    """
    with appearing(path, argument) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def appearing(path: Path, argument: str = "output") -> Iterator[Path]:
    """For what is written piece by piece: yields a temporary path beside `path`, which replaces it at the end.

    Where the block raises, `path` stays as it was and the temporary file is removed. The temporary name ends as the
    final one does, for writers that go by the ending. Any `OSError` of the block counts as a failure to write: let it
    do nothing else. Raises `OutputError` as `write_atomically` does.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    with _refusal(path, argument):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            with contextlib.suppress(OSError):  # gone after the replacement, or never made
                partial.unlink()


def writable_folder(folder: Path, argument: str = "output") -> None:
    """Make `folder`; raises `OutputError` before long work where nothing could be written into it afterwards."""
    with _refusal(folder, argument):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextlib.contextmanager
def _refusal(path: Path, argument: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.ENOSPC:
            reason += f", {shutil.disk_usage(path.parent).free / 1e9:.2f} GB free"
        message = f"{path} cannot be written ({reason}); choose another `{argument}`"
        raise OutputError(message, arguments=[argument]) from error


def zip_bytes(files: dict[str, bytes]) -> bytes:
    """A stored zip of `files` in their order: deterministic on every machine and zlib."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, TIMESTAMP)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()
