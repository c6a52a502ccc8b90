"""Columns of a file: what is refused, what is cast, what is left out."""

from dataclasses import replace

import pyarrow as pa

from lobmodels.data.columns import column_notes, column_problems, is_readable
from lobmodels.schema import LOB, Schema

OWN = Schema(("a", "b"), ("y",), 10, 0, scored_column=None)
TYPES = {"seq_ix": pa.int64(), "step_in_seq": pa.int16(), "a": pa.float64(), "b": pa.int32(), "y": pa.float32()}


def test_numbers_of_other_types_are_noted() -> None:
    """Double and integer columns are cast, each type in one line; further columns are not read, but in the challenge's
    format refused."""
    names, types = [*TYPES, "more"], [*TYPES.values(), pa.string()]
    assert column_problems(names, types, OWN) == []
    assert column_notes(names, types, OWN) == [
        "column a: double, read as float32",
        "column b: int32, read as float32",
        "column more: not in the schema, not read",
    ]
    assert column_notes(names, types, LOB) == []
    assert any("extra column a, b, y, more" in problem for problem in column_problems(names, types, LOB))


def test_what_cannot_be_read() -> None:
    """Text for numbers, and a flag that is none."""
    types = {**TYPES, "b": pa.string()}
    assert column_problems(list(types), list(types.values()), OWN) == [
        "column b has type string, not float32: cast it before writing the file"
    ]
    assert not is_readable("b", pa.string(), list(types), OWN) and is_readable("a", pa.float64(), list(types), OWN)
    flagged = replace(OWN, scored_column="y2")
    assert "missing column y2" in column_problems(list(TYPES), list(TYPES.values()), flagged)[0]
