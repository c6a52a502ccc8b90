"""The zip of a submission: equal bytes for equal files."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from lobmodels.errors import BundleError, Remedy

SOLUTION = "solution.py"
TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: the bytes do not depend on when they are written


def zip_bytes(files: dict[str, bytes]) -> bytes:
    """A stored zip of `files` in their order: deterministic on every machine and zlib."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, TIMESTAMP)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


def open_zip(path: Path) -> zipfile.ZipFile:
    """The zip at `path`; `BundleError` where there is none."""
    if not path.is_file():
        raise BundleError(f"{path}: no such file", remedy=Remedy.EXPORT_SUBMISSION, subject=path.name)
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise BundleError(f"{path} is not a zip ({error}); a submission is a zip with {SOLUTION} at its root") from None
