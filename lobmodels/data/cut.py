"""Cuts one long series of rows in time into a data folder: sequences with gaps, train before valid, never across."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lobmodels.data.columns import column_problems
from lobmodels.data.parquet import open_parquet
from lobmodels.data.sequences import MEMBERS
from lobmodels.errors import DataError
from lobmodels.files import appearing, writable_folder, write_atomically
from lobmodels.schema import Schema
from lobmodels.schema_file import FILE, schema_yaml

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """How a series is cut: `gap` rows are left out between two sequences and between train and valid, the last
    `valid_share` of the rows is for validation."""

    gap: int = 0
    valid_share: float = 0.2
    overwrite: bool = False  # data that is there

    def __post_init__(self) -> None:
        if self.gap < 0:
            raise DataError(
                f"gap={self.gap}: rows left out between sequences cannot be fewer than 0", arguments=["gap"]
            )
        if not 0 < self.valid_share < 1:
            message = f"valid_share={self.valid_share:g} is not between 0 and 1: both files need sequences"
            raise DataError(message, arguments=["valid_share"])


def starts_of(first: int, stop: int, schema: Schema, gap: int) -> list[tuple[int, int]]:
    """(first row, row behind the last one) of each sequence in the rows from `first` to `stop`. Where lengths may
    differ, what is left at the end is a sequence too, if something of it is scored."""
    length, found = schema.sequence_length, []
    while first + length <= stop:
        found.append((first, first + length))
        first += length + gap
    if schema.variable_length and stop - first > schema.warmup_steps:
        found.append((first, stop))
    return found


def cut_rows(rows: int, series: Index | None, schema: Schema, cut: Cut) -> tuple[list[tuple[int, int]], ...]:
    """Sequences of train and of valid among so many rows in the order of time. No sequence crosses a change of `series`
    (R,) or the border between the two files; `gap` rows around the border are in neither."""
    border = round(rows * (1 - cut.valid_share))
    changes = [] if series is None else (np.flatnonzero(np.diff(series)) + 1).tolist()
    found = []
    for first, stop in ((0, border), (min(rows, border + cut.gap), rows)):
        edges = [first, *(place for place in changes if first < place < stop), stop]
        parts = itertools.pairwise(edges)
        found.append([one for a, b in parts for one in starts_of(a, b, schema, cut.gap)])
    return tuple(found)


def write_cut(
    output: Path,
    values: NDArray[np.float32],
    schema: Schema,
    sequences: tuple[list[tuple[int, int]], ...],
    overwrite: bool,
) -> tuple[int, ...]:
    """Write train.parquet, valid.parquet and schema.yaml from the rows `values` (R, F + K); returns the numbers of
    sequences. Raises `DataError` where a file would have none, `OutputError` where the folder cannot be written."""
    schema = replace(schema, scored_column=None)
    there = [output / name for name in (*(f"{name}.parquet" for name in MEMBERS), FILE) if (output / name).exists()]
    if there and not overwrite:
        message = f"{there[0]}: exists already; choose another folder or set `overwrite`"
        raise DataError(message, arguments=["overwrite"])
    for name, found in zip(MEMBERS, sequences, strict=True):
        if not found:
            raise DataError(
                f"{output}: {name}.parquet would hold no sequence of {schema.sequence_length} steps: there are "
                f"{len(values):,} rows in all; shorten sequence_length, or change the share that is for validation"
            )
    writable_folder(output)
    number = 0
    for name, found in zip(MEMBERS, sequences, strict=True):
        _write(output / f"{name}.parquet", values, schema, found, number)
        number += len(found)
    write_atomically(output / FILE, schema_yaml(schema))
    return tuple(len(found) for found in sequences)


def _write(
    path: Path, values: NDArray[np.float32], schema: Schema, sequences: list[tuple[int, int]], number: int
) -> None:
    """One file; `number` is the identifier of its first sequence."""
    index = np.concatenate([np.arange(a, b) for a, b in sequences])
    lengths = np.array([b - a for a, b in sequences])
    columns: dict[str, NDArray[np.generic]] = {
        schema.sequence_column: np.repeat(np.arange(number, number + len(lengths)), lengths),
        schema.step_column: np.concatenate([np.arange(length, dtype=np.int32) for length in lengths.tolist()]),
    }
    names = schema.features + schema.targets
    columns |= {name: np.ascontiguousarray(values[index, j]) for j, name in enumerate(names)}
    with appearing(path) as partial:
        pq.write_table(pa.table(columns), partial)


def cut_file(path: Path, output: Path, schema: Schema, cut: Cut, series: str | None = None) -> tuple[int, ...]:
    """Cut the rows of the parquet file `path`, which are in the order of time, into a data folder; returns the numbers
    of train and of validation sequences. `series` names a column that changes where one series ends and another begins.

    Raises `DataError` for columns that are missing or no numbers, and for values that are none.
    """
    file = open_parquet(path)
    names = schema.features + schema.targets
    there = dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))
    wanted = [*names, *([series] if series is not None else [])]
    missing = [name for name in wanted if name not in there]
    if missing:
        raise DataError(f"{path}: missing column {', '.join(missing[:8])}: the schema names it")
    ids = {schema.sequence_column: pa.int64(), schema.step_column: pa.int64()}
    problems = column_problems(
        [*ids, *names], [*ids.values(), *(there[name] for name in names)], replace(schema, scored_column=None)
    )
    if problems:
        raise DataError(f"{path}: {problems[0]}")
    table = file.read(columns=wanted)
    values = np.stack([table[name].to_numpy().astype(np.float32) for name in names], 1)
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        column = names[int((~np.isfinite(values[bad[0]])).argmax())]
        raise DataError(
            f"{path}: column {column} holds no finite number in row {bad[0]:,}; repair or drop such rows first"
        )
    changes = (
        None if series is None else np.unique(table[series].to_numpy(zero_copy_only=False), return_inverse=True)[1]
    )
    return write_cut(output, values, schema, cut_rows(len(values), changes, schema, cut), cut.overwrite)
