"""A table in a CSV file reads back as it was, and runs nothing in a spreadsheet."""

from __future__ import annotations

import csv
import io

import pytest

from lobmodels.table import Table


def read(table: Table) -> list[list[str]]:
    return list(csv.reader(io.StringIO(table.to_csv())))


def test_values_read_back() -> None:
    """Numbers in full, None as an empty cell, truth values in lower case, commas and quotes kept."""
    table = Table("t", ("a", "b"), [(0.1 + 0.2, None), (True, 'x,"y"')])
    assert read(table) == [["a", "b"], ["0.30000000000000004", ""], ["true", 'x,"y"']]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@cmd", "\t=1"])
def test_a_formula_is_text(text: str) -> None:
    """Text that a spreadsheet would run is marked; a negative number is none."""
    assert read(Table("t", ("a", "b"), [(text, -1.5)]))[1] == [f"'{text}", "-1.5"]


def test_columns_and_records() -> None:
    """Values by column and by row; a column that is not there is an error."""
    table = Table("t", ["a", "b"], [[1, 2], [3, 4]])
    assert table.column("b") == [2, 4]
    assert table.records() == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    with pytest.raises(ValueError, match="c"):
        table.column("c")


def test_two_columns_of_one_name_are_refused() -> None:
    """A reader by name would lose one of them; columns without a name may be several."""
    with pytest.raises(ValueError, match="two columns 'epochs'"):
        Table("t", ("trial", "epochs", "epochs"), [])
    Table("t", ("", "a", ""), [])
