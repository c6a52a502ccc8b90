"""Parquet to sequences: converted once into arrays that every process of the machine maps into memory."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
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

from lobmodels.errors import DataError
from lobmodels.schema import LOB, Schema

log = logging.getLogger(__name__)

CACHE_FORMAT = 1  # part of the key: a changed layout never meets an old reader
MEMBERS = ("train", "valid")
UNWRITABLE = {  # what a disk answers when it is full, read-only, another's, or not a folder
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST),
}


@dataclass(frozen=True)
class Sequences:
    """Sequences of one file: read-only arrays mapped from the cache, so that processes share their memory."""

    features: NDArray[np.float32]  # (N, T, 32)
    targets: NDArray[np.float32]  # (N, T, 2)
    seq_ix: NDArray[np.int64]  # (N,) in the order of the file
    fingerprint: str  # of the content, wherever the file lies
    source: Path
    schema: Schema = LOB

    def __len__(self) -> int:
        return len(self.seq_ix)


@dataclass(frozen=True)
class Dataset:
    """Train and validation sequences, and the fingerprint that a study keeps of both."""

    train: Sequences
    valid: Sequences
    fingerprint: str


def load_dataset(folder: Path | str, cache_dir: Path | str | None = None) -> Dataset:
    """The sequences of `folder`/train.parquet and `folder`/valid.parquet.

    Raises `DataError` if either is missing or breaks the format.
    """
    paths = member_paths(Path(folder))
    train, valid = (load_sequences(path, cache_dir) for path in paths)
    both = hashlib.blake2b(f"{train.fingerprint} {valid.fingerprint}".encode(), digest_size=16)
    return Dataset(train, valid, both.hexdigest())


def member_paths(folder: Path) -> tuple[Path, Path]:
    """train.parquet and valid.parquet of `folder`; `DataError` names what is missing."""
    if not folder.is_dir():
        what = "a file" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {what}; --data takes a folder with train.parquet and valid.parquet")
    paths = tuple(folder / f"{name}.parquet" for name in MEMBERS)
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{folder}: holds no {' and no '.join(missing)}; a data folder has both "
            "(`lobtuna data synth --output DIR` writes an example)"
        )
    return paths[0], paths[1]


def load_sequences(path: Path | str, cache_dir: Path | str | None = None) -> Sequences:
    """The sequences of the parquet file `path`, from the cache where it knows the file.

    The cache (see `cache_folder`) recognises a file by its path, size and modification time. The first
    process converts, others wait for it. Raises `DataError` with the first rule of the format that is broken.
    """
    path = Path(path)
    if not path.is_file():
        from lobmodels.data.parquet import open_parquet

        open_parquet(path)  # raises with the reason
    cache = cache_folder(cache_dir)
    entry = cache / _entry_name(path)
    with _clear_os_errors(cache):
        found = _open_entry(entry, path)
        if found is not None:
            return found
        cache.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache / f"{_place(entry)}.lock"):
            found = _open_entry(entry, path)  # another process may have converted it meanwhile
            if found is None:
                _convert(path, entry)
                found = _open_entry(entry, path)
    if found is None:
        raise DataError(f"{entry}: the cache changed under our feet; run the command again")
    return found


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


def validation_split(n: int, report_fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the (selection, report) sequences among `n`, sorted; the same on every machine and version.

    The rank of each index's hash decides, not a random generator, whose stream may change between releases.
    """
    if not 0 <= report_fraction < 1:
        raise DataError(f"report_fraction {report_fraction} is not in [0, 1)")
    count = round(n * report_fraction)
    if report_fraction > 0:
        if n < 2:
            raise DataError(f"{n} validation sequence cannot be split; set report_fraction to 0 or add sequences")
        count = min(max(count, 1), n - 1)
    ranked = sorted(range(n), key=lambda i: hashlib.blake2b(str(i).encode(), digest_size=16).digest())
    report = np.sort(np.array(ranked[:count], dtype=np.int64))
    return np.setdiff1d(np.arange(n, dtype=np.int64), report), report


def _entry_name(path: Path) -> str:
    """Folder of a file in the cache: its path names it, its size and time decide whether it still holds."""
    resolved, stat = path.resolve(), path.stat()
    place = hashlib.blake2b(os.fsencode(resolved), digest_size=8).hexdigest()
    state = hashlib.blake2b(f"{CACHE_FORMAT} {stat.st_size} {stat.st_mtime_ns}".encode(), digest_size=6)
    return f"{place}-{state.hexdigest()}"


def _open_entry(entry: Path, source: Path) -> Sequences | None:
    """The cached sequences, or None where there are none or where they are damaged."""
    try:
        meta = json.loads((entry / "meta.json").read_text())
        arrays: dict[str, Any] = {
            name: np.load(entry / f"{name}.npy", mmap_mode="r") for name in ("features", "targets", "seq_ix")
        }
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        if shapes != meta["shapes"]:
            raise ValueError(f"shapes {shapes} are not {meta['shapes']}")
        return Sequences(**arrays, fingerprint=meta["fingerprint"], source=source)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, EOFError) as error:
        log.warning("the cache %s is damaged (%s): converting %s again", entry, error, source)
        return None


def _convert(path: Path, entry: Path, schema: Schema = LOB) -> None:
    """Write the arrays of `path` into the cache folder `entry`, which appears whole or not at all."""
    from lobmodels.data.parquet import column_problems, open_parquet

    file = open_parquet(path)
    problems = column_problems(file.schema_arrow.names, file.schema_arrow.types, schema)
    _raise_problems(path, problems)
    rows, width = file.metadata.num_rows, len(schema.features) + len(schema.targets)
    needed, free = rows * width * 4, shutil.disk_usage(entry.parent).free
    if needed > free:
        raise DataError(
            f"{entry.parent}: {free / 1e9:.2f} GB free, {path} needs {needed / 1e9:.2f} GB there; "
            "free some or point LOBTUNA_CACHE at another disk"
        )
    log.info("converting %s: %s rows, once", path, f"{rows:,}")
    temporary = entry.with_name(f"{entry.name}.tmp")  # under the lock: what is there, a killed process left
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        meta = _write_arrays(file, path, temporary, schema)
        if _entry_name(path) != entry.name:
            raise DataError(f"{path}: changed while it was read; run the command again")
        (temporary / "meta.json").write_text(json.dumps({**meta, "source": str(path.resolve())}, indent=2))
        _remove_states_of(entry, keep=temporary)
        temporary.replace(entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_arrays(file: Any, path: Path, folder: Path, schema: Schema) -> dict[str, Any]:
    """Stream the rows of `file` into .npy files; returns their shapes and fingerprint."""
    from lobmodels.data.parquet import RowAudit, blocks

    length, split = schema.sequence_length, len(schema.features)
    n = file.metadata.num_rows // length
    shapes = {"features": [n, length, split], "targets": [n, length, len(schema.targets)], "seq_ix": [n]}
    types = {"features": "<f4", "targets": "<f4", "seq_ix": "<i8"}
    digests = {name: hashlib.blake2b(str(shape).encode(), digest_size=16) for name, shape in shapes.items()}
    audit = RowAudit(schema)
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.npy").open("wb")) for name in shapes}
        for name, shape in shapes.items():
            header = {"descr": types[name], "fortran_order": False, "shape": tuple(shape)}
            np.lib.format.write_array_header_1_0(files[name], header)
        for block in blocks(file, path, schema):
            audit.add(block)
            parts = (block.values[:, :split], block.values[:, split:], block.seq_ix[::length])
            for name, part in zip(shapes, parts, strict=True):
                data = np.ascontiguousarray(part, dtype=types[name]).data
                files[name].write(data)
                digests[name].update(data)
    _raise_problems(path, audit.finish())
    joined = " ".join(digest.hexdigest() for digest in digests.values())
    return {"shapes": shapes, "fingerprint": hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()}


def _raise_problems(path: Path, problems: list[str]) -> None:
    if problems:
        more = f" (and {len(problems) - 1} more; `lobtuna data check {path}` lists all)" if problems[1:] else ""
        raise DataError(f"{path}: {problems[0]}{more}")


def _place(entry: Path) -> str:
    """The part of an entry's name that stands for the file's path."""
    return entry.name.split("-")[0]


def _remove_states_of(entry: Path, keep: Path) -> None:
    """Delete earlier states of the same file, damaged remains of this one and what killed processes left."""
    for old in entry.parent.glob(f"{_place(entry)}-*"):
        if old != keep:
            shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _clear_os_errors(cache: Path) -> Iterator[None]:
    """Turn the expected failures of a disk into a `DataError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise DataError(
            f"{cache}: the cache cannot be used ({error.strerror}); "
            "point LOBTUNA_CACHE at a writable folder with free space"
        ) from error
