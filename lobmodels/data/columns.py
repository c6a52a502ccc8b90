"""What the columns of a file must be called and hold, and what happens to those that are used otherwise."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from lobmodels.schema import LOB, Schema


def column_problems(names: list[str], types: list[pa.DataType], schema: Schema = LOB) -> list[str]:
    """What is wrong with the columns of a file: missing, extra, repeated, or not of the format's type.

    Further columns are refused in the challenge's format alone, which has none; `column_notes` tells of them elsewhere.
    """
    missing = [name for name in schema.columns if name not in names]
    extra = [name for name in dict.fromkeys(names) if name not in schema.columns]
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    problems = []
    if missing:
        problems.append(f"missing column {_listed(missing)}: the format has {len(schema.columns)} columns")
    if extra and schema.is_challenge:
        problems.append(f"extra column {_listed(extra)}: drop it, the format has no such column")
    if repeated:
        problems.append(f"repeated column {_listed(repeated)}: each name must occur once")
    for name, kind in zip(names, types, strict=True):
        expected = _expected_type(name, schema)
        if name in schema.columns and not _TYPE_TESTS[expected](kind):
            problems.append(f"column {name} has type {kind}, not {expected}: cast it before writing the file")
    return problems


def _expected_type(name: str, schema: Schema) -> str:
    if name in (schema.sequence_column, schema.step_column):
        return "integer"
    return "bool" if name == schema.scored_column else "float32"


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


_TYPE_TESTS: dict[str, Any] = {
    "integer": pa.types.is_integer,
    "bool": pa.types.is_boolean,
    "float32": _is_number,  # cast as they are read
}


def column_notes(names: list[str], types: list[pa.DataType], schema: Schema = LOB) -> list[str]:
    """What happens to columns that are used otherwise than they stand in the file: cast, or left out."""
    cast: dict[str, list[str]] = {}
    for name, kind in zip(names, types, strict=True):
        if name in (*schema.features, *schema.targets) and _is_number(kind) and not pa.types.is_float32(kind):
            cast.setdefault(str(kind), []).append(name)
    notes = [f"column {_listed(found)}: {kind}, read as float32" for kind, found in cast.items()]
    extra = [name for name in dict.fromkeys(names) if name not in schema.columns]
    if extra and not schema.is_challenge:
        notes.append(f"column {_listed(extra)}: not in the schema, not read")
    return notes


def is_readable(name: str, kind: pa.DataType, names: list[str], schema: Schema = LOB) -> bool:
    """Whether a column can be used although others of its file are broken."""
    return name in schema.columns and names.count(name) == 1 and _TYPE_TESTS[_expected_type(name, schema)](kind)


def _listed(names: list[str], limit: int = 8) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
