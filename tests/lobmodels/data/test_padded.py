"""Sequences of different lengths lie in arrays of one length."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from lobmodels.data import load_sequences
from lobmodels.data.padded import padded_shapes
from tests.lobmodels.own_data import VARIABLE, table


def test_every_row_is_where_it_belongs(tmp_path: Path) -> None:
    """Rows of the file in order, zeros and NaN behind each end, however rows are grouped in the file."""
    rows = table(VARIABLE, 9, seed=5)
    path = tmp_path / "train.parquet"
    pq.write_table(rows, path, row_group_size=37)
    shapes, starts = padded_shapes(pq.ParquetFile(path), VARIABLE)
    data = load_sequences(path, tmp_path / "cache", VARIABLE)
    assert data.lengths.tolist() == np.diff(starts).tolist() and shapes["features"] == list(data.features.shape)
    values = np.stack([rows[name].to_numpy() for name in VARIABLE.features], 1)
    for i, (start, length) in enumerate(zip(starts, data.lengths.tolist(), strict=False)):
        assert np.array_equal(data.features[i, :length], values[start : start + length])
        assert (data.features[i, length:] == 0).all() and np.isnan(data.targets[i, length:]).all()
    assert np.array_equal(data.seq_ix, np.arange(9))
    pq.write_table(rows, path, row_group_size=200)
    assert load_sequences(path, tmp_path / "other", VARIABLE).fingerprint == data.fingerprint
