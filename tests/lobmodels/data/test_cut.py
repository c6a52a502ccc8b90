"""One long series becomes sequences with gaps, train before valid, and none across a border."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lobmodels.data import load_dataset
from lobmodels.data.cut import Cut, cut_file, cut_rows
from lobmodels.errors import DataError
from lobmodels.schema import Schema

SCHEMA = Schema(("a", "b"), ("y",), 40, 10, scored_column=None, metric="pearson", clip=None)


def series(path: Path, rows: int = 1000) -> Path:
    """Column `a` counts the rows, `day` changes every 300."""
    count = np.arange(rows)
    columns = {"a": count.astype(np.float64), "b": count % 7, "y": np.sin(count), "day": count // 300}
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize("gap", [0, 13])
@pytest.mark.parametrize("by_day", [False, True])
def test_cutting(variable: bool, gap: int, by_day: bool, tmp_path: Path) -> None:
    """Sequences hold consecutive rows in order, apart by the gap; no row is in two, none crosses the split or a day."""
    schema = replace(SCHEMA, variable_length=variable)
    file = series(tmp_path / "series.parquet")
    counts = cut_file(file, tmp_path / "data", schema, Cut(gap, 0.25), "day" if by_day else None)
    data = load_dataset(tmp_path / "data", tmp_path / "cache")
    assert (len(data.train), len(data.valid)) == counts and data.schema == schema
    spans = []
    for part, low, high in ((data.train, 0, 750), (data.valid, 750 + gap, 1000)):
        for rows, length in zip(part.features, part.lengths.tolist(), strict=True):
            numbers = rows[:length, 0].astype(int)
            assert (np.diff(numbers) == 1).all() and low <= numbers[0] and numbers[-1] < high
            assert length == 40 or (variable and length > 10)
            assert not by_day or numbers[0] // 300 == numbers[-1] // 300
            spans.append((numbers[0], numbers[-1]))
    for (_, last), (first, _) in itertools.pairwise(spans):
        same = not by_day or last // 300 == first // 300
        assert first - last - 1 >= (gap if same else 0)
    assert len(set(data.train.seq_ix) & set(data.valid.seq_ix)) == 0


def test_rows_are_not_lost() -> None:
    """Without a gap every row but the remainders is in a sequence."""
    train, valid = cut_rows(1000, None, SCHEMA, Cut(0, 0.2))
    assert train[0] == (0, 40) and len(train) == 20 and valid[0] == (800, 840) and len(valid) == 5


@pytest.mark.parametrize(
    ("change", "cut", "message"),
    [
        ({}, {"valid_share": 0.01}, "valid.parquet would hold no sequence of 40 steps"),
        ({}, {"valid_share": 1.0}, "valid_share=1 is not between 0 and 1"),
        ({}, {"gap": -1}, "gap=-1: rows left out"),
        ({"features": ("a", "c")}, {}, "missing column c: the schema names it"),
        ({"features": ("a", "name")}, {}, "column name has type string"),
        ({"features": ("a", "hole")}, {}, "column hole holds no finite number in row 3"),
    ],
)
def test_mistakes(change: dict, cut: dict, message: str, tmp_path: Path) -> None:  # type: ignore[type-arg]
    """What cannot be cut is one clear line, and nothing is written."""
    file = series(tmp_path / "series.parquet")
    table = pq.read_table(file).append_column("name", pa.array(["x"] * 1000))
    pq.write_table(table.append_column("hole", pa.array(np.where(np.arange(1000) == 3, np.nan, 1.0))), file)
    with pytest.raises(DataError) as error:
        cut_file(file, tmp_path / "data", replace(SCHEMA, **change), Cut(**cut))
    assert message in str(error.value) and not (tmp_path / "data").exists()


def test_data_that_is_there_is_kept(tmp_path: Path) -> None:
    """A folder with data is overwritten on request only."""
    file = series(tmp_path / "series.parquet")
    cut_file(file, tmp_path / "data", SCHEMA, Cut())
    with pytest.raises(DataError, match=r"train\.parquet: exists already"):
        cut_file(file, tmp_path / "data", SCHEMA, Cut())
    assert cut_file(file, tmp_path / "data", SCHEMA, Cut(overwrite=True)) == (20, 5)
