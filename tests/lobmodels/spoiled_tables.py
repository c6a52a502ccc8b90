"""Ways to spoil a good table, one at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def put(table: pa.Table, column: str, values: np.ndarray | pa.Array) -> pa.Table:
    """With other values in a column."""
    return table.set_column(table.column_names.index(column), column, pa.array(values))


def poke(table: pa.Table, column: str, row: int, value: object) -> pa.Table:
    """With another value in one cell."""
    values = table[column].to_numpy().copy()
    values[row] = value
    return put(table, column, values)


def shuffled(table: pa.Table, rows: slice) -> pa.Table:
    """With these rows in another order."""
    order = np.arange(len(table))
    order[rows] = np.random.default_rng(0).permutation(order[rows])
    return table.take(order)


def without(table: pa.Table, row: int) -> pa.Table:
    """Without one row."""
    return pa.concat_tables([table.slice(0, row), table.slice(row + 1)])
