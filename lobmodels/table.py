"""A table of plain values as it is kept in a CSV file: one class for every list that is written for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # spreadsheets run a cell that begins so as a formula


@dataclass(frozen=True)
class Table:
    """Rows under named columns. `name` is the name of its file without the suffix."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def __post_init__(self) -> None:
        twice = [name for i, name in enumerate(self.columns) if name and name in self.columns[:i]]
        if twice:
            raise ValueError(f"table {self.name!r} would have two columns {twice[0]!r}: give each a name of its own")

    def to_csv(self) -> str:
        """All rows, numbers unrounded, None empty. Text that a spreadsheet would run as a formula is marked as text."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_cell(value) for value in row] for row in self.rows)
        return out.getvalue()

    def column(self, name: str) -> list[Any]:
        """Values of one column, from the first row to the last. Raises `ValueError` for a name it does not have."""
        i = list(self.columns).index(name)
        return [row[i] for row in self.rows]

    def records(self) -> list[dict[str, Any]]:
        """Each row as a mapping from column to value."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value
