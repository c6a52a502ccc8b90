"""Converts a parquet file once into arrays on disk, which every process of the machine maps into memory.

A folder of the cache is named by the file's path and by what may change there: its size, its modification time, the
schema it is read with. The first process converts, others wait for it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from numpy.typing import NDArray

from lobmodels.errors import DataError, Remedy
from lobmodels.schema import LOB, Schema

log = logging.getLogger(__name__)

CACHE_FORMAT = 1  # part of the name: an old reader never opens a changed layout
TYPES = {"features": "<f4", "targets": "<f4", "seq_ix": "<i8"}  # of the arrays, on any machine
UNUSABLE = {  # errors of a full or read-only disk, or of a folder that is another user's or is a file
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST),
}


@dataclass(frozen=True)
class Arrays:
    """The content of one file, read-only and mapped: N sequences, T steps, F features, K targets."""

    features: NDArray[np.float32]  # (N, T, F)
    targets: NDArray[np.float32]  # (N, T, K)
    seq_ix: NDArray[np.int64]  # (N,)
    fingerprint: str  # of the content


def cache_folder(cache_dir: Path | str | None = None) -> Path:
    """Where converted data is kept: `cache_dir`, else $LOBTUNA_CACHE, else the user's cache folder."""
    chosen = cache_dir or os.environ.get("LOBTUNA_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "lobtuna"


def load_arrays(path: Path, cache: Path, schema: Schema = LOB) -> Arrays:
    """The arrays of the parquet file `path`, from the folder `cache`, where they are put on the first call.

    Raises `DataError` for a file that is missing or breaks the format, and for a cache that cannot be used.
    """
    if not path.is_file():
        from lobmodels.data.parquet import open_parquet

        open_parquet(path)  # raises with the reason
    entry = cache / _entry_name(path, schema)
    with _disk_errors(cache):
        found = _open_entry(entry, path)
        if found is not None:
            return found
        cache.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache / f"{_of_path(entry)}.lock"):
            found = _open_entry(entry, path)  # another process may have converted it meanwhile
            if found is None:
                _convert(path, entry, schema)
                found = _open_entry(entry, path)
    if found is None:
        raise DataError(f"{entry}: another process removed it from the cache meanwhile; run the command again")
    return found


def _entry_name(path: Path, schema: Schema) -> str:
    """Folder of a file in the cache: its path, then the state of the file that it was converted from."""
    resolved, stat = path.resolve(), path.stat()
    place = hashlib.blake2b(os.fsencode(resolved), digest_size=8).hexdigest()
    read_as = "" if schema == LOB else f" {schema}"
    state = f"{CACHE_FORMAT} {stat.st_size} {stat.st_mtime_ns}{read_as}"
    return f"{place}-{hashlib.blake2b(state.encode(), digest_size=6).hexdigest()}"


def _of_path(entry: Path) -> str:
    """The part of an entry's name that stands for the file's path."""
    return entry.name.split("-")[0]


def _open_entry(entry: Path, source: Path) -> Arrays | None:
    """The cached arrays, or None where there are none or where they are damaged."""
    try:
        meta = json.loads((entry / "meta.json").read_text())
        arrays: dict[str, Any] = {name: np.load(entry / f"{name}.npy", mmap_mode="r") for name in TYPES}
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        if shapes != meta["shapes"]:
            raise ValueError(f"shapes {shapes} are not {meta['shapes']}")
        return Arrays(**arrays, fingerprint=meta["fingerprint"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, EOFError) as error:
        log.warning("the cache %s is damaged (%s): converting %s again", entry, error, source)
        return None


def _convert(path: Path, entry: Path, schema: Schema) -> None:
    """Write the arrays of `path` into the cache folder `entry`, which appears whole or not at all.

    The caller holds the file's lock, so that a temporary folder found here was left by a killed process.
    """
    from lobmodels.data.columns import column_problems
    from lobmodels.data.parquet import open_parquet

    file = open_parquet(path)
    _raise_problems(path, column_problems(file.schema_arrow.names, file.schema_arrow.types, schema))
    rows = file.metadata.num_rows
    _require_space(path, entry.parent, 4 * rows * (len(schema.features) + len(schema.targets)))
    log.info("converting %s: %s rows, once", path, f"{rows:,}")
    partial = entry.with_name(f"{entry.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        meta = _write_arrays(file, path, partial, schema)
        if _entry_name(path, schema) != entry.name:
            raise DataError(f"{path}: changed while it was read; run the command again")
        (partial / "meta.json").write_text(json.dumps({**meta, "source": str(path.resolve())}, indent=2))
        _remove_others(entry, keep=partial)
        partial.replace(entry)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _require_space(path: Path, cache: Path, needed: int) -> None:
    free = shutil.disk_usage(cache).free
    if needed > free:
        raise DataError(
            f"{cache}: {free / 1e9:.2f} GB free, {path} needs {needed / 1e9:.2f} GB there; "
            "free some or point LOBTUNA_CACHE at another disk"
        )


def _write_arrays(file: Any, path: Path, folder: Path, schema: Schema) -> dict[str, Any]:
    """Stream the rows of `file` into .npy files; returns their shapes and fingerprint."""
    from lobmodels.data.parquet import RowAudit, blocks

    if schema.variable_length:
        return _write_padded(file, path, folder, schema)
    length, split = schema.sequence_length, len(schema.features)
    n = file.metadata.num_rows // length
    shapes = {"features": [n, length, split], "targets": [n, length, len(schema.targets)], "seq_ix": [n]}
    audit = RowAudit(schema)
    with contextlib.ExitStack() as stack:
        writers = {
            name: stack.enter_context(_ArrayWriter(folder / f"{name}.npy", TYPES[name], shape))
            for name, shape in shapes.items()
        }
        for block in blocks(file, path, schema):
            audit.add(block)
            writers["features"].add(block.values[:, :split])
            writers["targets"].add(block.values[:, split:])
            writers["seq_ix"].add(block.seq_ix[::length])
    _raise_problems(path, audit.finish())
    joined = " ".join(writer.digest.hexdigest() for writer in writers.values())
    return {"shapes": shapes, "fingerprint": hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()}


def _write_padded(file: Any, path: Path, folder: Path, schema: Schema) -> dict[str, Any]:
    """`_write_arrays` where lengths differ. The rows are checked before: their order decides how large the arrays
    are."""
    from lobmodels.data.padded import padded_shapes, write_padded
    from lobmodels.data.parquet import RowAudit, blocks

    audit = RowAudit(schema)
    for block in blocks(file, path, schema):
        audit.add(block)
    _raise_problems(path, audit.finish())
    shapes, _ = padded_shapes(file, schema)
    _require_space(path, folder.parent, 4 * sum(math.prod(shape) for shape in shapes.values()))
    return write_padded(file, path, folder, schema, TYPES)


class _ArrayWriter:
    """A .npy file written part by part, with a digest of shape and content."""

    def __init__(self, path: Path, kind: str, shape: list[int]) -> None:
        self.kind, self.file = kind, path.open("wb")
        self.digest = hashlib.blake2b(str(shape).encode(), digest_size=16)
        header = {"descr": kind, "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def __enter__(self) -> _ArrayWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def add(self, part: NDArray[Any]) -> None:
        data = np.ascontiguousarray(part, dtype=self.kind).data
        self.file.write(data)
        self.digest.update(data)


def _raise_problems(path: Path, problems: list[str]) -> None:
    if not problems:
        return
    if len(problems) == 1:
        raise DataError(f"{path}: {problems[0]}")
    message = f"{path}: {problems[0]} (and {len(problems) - 1} more)"
    raise DataError(message, remedy=Remedy.CHECK_DATA, subject=str(path))


def _remove_others(entry: Path, keep: Path) -> None:
    """Delete the entries of earlier states of the same file, and a damaged entry of this one."""
    for old in entry.parent.glob(f"{_of_path(entry)}-*"):
        if old != keep:
            shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _disk_errors(cache: Path) -> Iterator[None]:
    """Turn the expected failures of a disk into a `DataError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNUSABLE:
            raise
        raise DataError(
            f"{cache}: the cache cannot be used ({error.strerror}); "
            "point LOBTUNA_CACHE at a writable folder with free space"
        ) from error
