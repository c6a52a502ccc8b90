"""Sequences hold what the file holds, and a folder that lacks a file says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lobmodels.data import Dataset, SplitRule, load_dataset, load_sequences
from lobmodels.data.sequences import check_batch_size
from lobmodels.errors import ConfigError, DataError
from lobmodels.schema import LOB


def test_folder_members(small_data: Path, tmp_path: Path) -> None:
    """A folder without one of its files, a file in its place and no folder at all say which and what to do."""
    with pytest.raises(DataError, match="no such folder"):
        load_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no train\.parquet and no valid\.parquet"):
        load_dataset(tmp_path)
    (tmp_path / "train.parquet").symlink_to(small_data / "train.parquet")
    with pytest.raises(DataError, match=r"holds no valid\.parquet"):
        load_dataset(tmp_path)
    with pytest.raises(DataError, match="a file; `data` is a folder"):
        load_dataset(tmp_path / "train.parquet")
    with pytest.raises(DataError, match="a folder where a parquet file is expected"):
        load_sequences(tmp_path)


def test_content_equals_the_file(small_data: Path) -> None:
    """Every value is where its sequence, step and column say, whatever the row groups; ids keep their order."""
    table = pq.read_table(small_data / "train.parquet")
    data = load_sequences(small_data / "train.parquet")
    assert len(data) == 24
    assert data.features.shape == (24, 1000, 32) and data.targets.shape == (24, 1000, 2)
    assert data.features.dtype == data.targets.dtype == np.float32
    for j, name in enumerate(LOB.features):
        np.testing.assert_array_equal(data.features[:, :, j].ravel(), table[name].to_numpy())
    for j, name in enumerate(LOB.targets):
        np.testing.assert_array_equal(data.targets[:, :, j].ravel(), table[name].to_numpy())
    np.testing.assert_array_equal(data.seq_ix, table["seq_ix"].to_numpy()[::1000])


def test_dataset_fingerprint_covers_both(small_dataset: Dataset, small_data: Path, tmp_path: Path) -> None:
    """Another validation file makes another data set."""
    (tmp_path / "train.parquet").symlink_to(small_data / "train.parquet")
    (tmp_path / "valid.parquet").symlink_to(small_data / "train.parquet")
    other = load_dataset(tmp_path)
    assert other.train.fingerprint == small_dataset.train.fingerprint
    assert other.fingerprint != small_dataset.fingerprint


def test_real_data_loads(real_lob: Path) -> None:
    """The real data keeps the format and has the sizes that its description gives."""
    data = load_dataset(real_lob)
    assert (len(data.train), len(data.valid)) == (427, 93)
    assert np.isfinite(data.train.targets).all()


def test_another_schema(good: pa.Table, tmp_path: Path) -> None:
    """A file with other columns is read with their schema, which the sequences carry; with the contest's it is refused,
    and what the cache holds of one reading is never taken for the other."""
    narrow = replace(LOB, features=("p0", "p6", "v0"), targets=("t1",), groups=())
    path = tmp_path / "narrow.parquet"
    pq.write_table(good.select(list(narrow.columns)), path)
    data = load_sequences(path, tmp_path / "cache", narrow)
    assert data.features.shape == (3, 1000, 3) and data.targets.shape == (3, 1000, 1)
    assert data.schema == narrow and narrow.column_groups == {"features": ("p0", "p6", "v0")}
    np.testing.assert_array_equal(data.features[:, :, 1].ravel(), good["p6"].to_numpy())
    with pytest.raises(DataError, match="missing column"):
        load_sequences(path, tmp_path / "cache")
    assert load_sequences(path, tmp_path / "cache", narrow).fingerprint == data.fingerprint


def test_a_batch_larger_than_the_data(small_dataset: Dataset) -> None:
    """Refused with both numbers; all sequences in one batch are fine."""
    everything = small_dataset.partition(SplitRule())
    check_batch_size(24, everything)
    with pytest.raises(ConfigError, match=r"batch_size=25 is larger than the data: there are 24 train sequences"):
        check_batch_size(25, everything)
