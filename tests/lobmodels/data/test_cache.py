"""The cache: converted once, shared, never used damaged, and clear about a disk that refuses."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lobmodels.data import cache_folder, load_sequences
from lobmodels.errors import DataError
from tests.lobmodels.spoiled_tables import poke


def test_broken_file_leaves_nothing_in_the_cache(good: pa.Table, tmp_path: Path) -> None:
    """A refused file costs no disk."""
    path = tmp_path / "broken.parquet"
    pq.write_table(poke(good, "p0", 2500, np.nan), path)
    with pytest.raises(DataError):
        load_sequences(path, tmp_path / "cache")
    assert [entry for entry in (tmp_path / "cache").iterdir() if entry.suffix != ".lock"] == []


def test_fingerprint_is_of_the_content(small_data: Path, tmp_path: Path) -> None:
    """Row groups, compression and place do not matter to it; one changed value, or another order, does."""
    table = pq.read_table(small_data / "valid.parquet")
    expected = load_sequences(small_data / "valid.parquet").fingerprint
    pq.write_table(table, tmp_path / "same.parquet", row_group_size=777, compression="none")
    assert load_sequences(tmp_path / "same.parquet").fingerprint == expected
    pq.write_table(poke(table, "p0", 5, 0.123), tmp_path / "other.parquet")
    assert load_sequences(tmp_path / "other.parquet").fingerprint != expected
    pq.write_table(pa.concat_tables([table.slice(1000), table.slice(0, 1000)]), tmp_path / "order.parquet")
    assert load_sequences(tmp_path / "order.parquet").fingerprint != expected


def test_arrays_are_shared_and_read_only(small_data: Path, tmp_path: Path) -> None:
    """The arrays are maps of the cache's files, not copies, and nobody can write to them."""
    data = load_sequences(small_data / "valid.parquet", tmp_path)
    assert isinstance(data.features, np.memmap)
    assert Path(data.features.filename).parent.parent == tmp_path
    with pytest.raises(ValueError, match="read-only"):
        data.features[0, 0, 0] = 1.0


def test_unchanged_file_is_not_read_again(small_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The second load converts nothing and writes nothing; a changed file is converted, its old state deleted."""
    source, cache = tmp_path / "valid.parquet", tmp_path / "cache"
    source.write_bytes((small_data / "valid.parquet").read_bytes())
    caplog.set_level(logging.INFO)
    first = load_sequences(source, cache)
    assert sum("converting" in record.message for record in caplog.records) == 1
    for lock in cache.glob("*.lock"):
        lock.unlink()
    assert load_sequences(source, cache).fingerprint == first.fingerprint
    assert sum("converting" in record.message for record in caplog.records) == 1
    assert list(cache.glob("*.lock")) == []
    pq.write_table(poke(pq.read_table(source), "p0", 5, 0.123), source)
    assert load_sequences(source, cache).fingerprint != first.fingerprint
    assert len([entry for entry in cache.iterdir() if entry.is_dir()]) == 1
    assert first.features[0, 0, 0] is not None  # a reader of the old state keeps it


@pytest.mark.parametrize("damage", ["truncate", "meta"])
def test_damaged_cache_is_converted_again(
    damage: str, small_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A cache entry that lost bytes is never used: it is said and made anew."""
    first = load_sequences(small_data / "valid.parquet", tmp_path)
    entry = next(path for path in tmp_path.iterdir() if path.is_dir())
    if damage == "truncate":
        os.truncate(entry / "features.npy", 5000)
    else:
        (entry / "meta.json").write_text("{")
    again = load_sequences(small_data / "valid.parquet", tmp_path)
    assert again.fingerprint == first.fingerprint
    assert again.features.shape == (12, 1000, 32)
    assert any("is damaged" in record.message for record in caplog.records)


CONVERT = """
import logging, resource, sys
logging.basicConfig(level=logging.INFO)
if len(sys.argv) > 3:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
from lobmodels.data import load_sequences
from lobmodels.errors import DataError
try:
    print(load_sequences(sys.argv[1], sys.argv[2]).fingerprint)
except DataError as error:
    print(f"DataError: {error}")
"""


def test_one_process_converts_and_others_wait(small_data: Path, tmp_path: Path) -> None:
    """Three processes that start together make one conversion and read the same arrays."""
    command = [sys.executable, "-c", CONVERT, str(small_data / "train.parquet"), str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    outputs = [process.communicate(timeout=400) for process in processes]
    assert len({out for out, _ in outputs}) == 1
    assert sum("converting" in err for _, err in outputs) == 1


def test_full_disk(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that the disk refuses leaves no entry and says where to point the cache; space is asked for first."""
    command = [sys.executable, "-c", CONVERT, str(small_data / "valid.parquet"), str(tmp_path), "100000"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=400).stdout
    assert "DataError" in output and "cannot be used" in output and "LOBTUNA_CACHE" in output
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"0\.00 GB free, .* needs 0\.00 GB there"):
        load_sequences(small_data / "valid.parquet", tmp_path)


def test_cache_that_cannot_be_a_folder(small_data: Path, tmp_path: Path) -> None:
    """A cache path that is a file, or lies below one, is refused in one line."""
    (tmp_path / "file").write_text("")
    for cache in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match="cannot be used"):
            load_sequences(small_data / "valid.parquet", cache)


def test_cache_folder_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The argument wins over LOBTUNA_CACHE, which wins over the user's cache folder."""
    monkeypatch.setenv("LOBTUNA_CACHE", str(tmp_path / "env"))
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    assert cache_folder() == tmp_path / "env"
    monkeypatch.delenv("LOBTUNA_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "lobtuna"
