"""The tables of a profile hold what the profile holds."""

from __future__ import annotations

from lobmodels.profile import Profile, tables


def test_tables(profile: Profile) -> None:
    """Every table is rectangular, holds plain numbers and says what the profile says."""
    found = tables(profile)
    for table in found.values():
        assert all(len(row) == len(table.columns) for row in table.rows) and table.rows
        assert {type(value) for row in table.rows for value in row} <= {str, int, float}
    columns = found["columns"]
    for row, column in zip(columns.rows, profile.columns, strict=True):
        line = dict(zip(columns.columns, row, strict=True))
        assert (line["column"], line["ks"]) == (column.name, column.ks)
        assert (line["weighted_valid_t1"], line["plain_train_t0"]) == (column.weighted_valid[1], column.plain_train[0])
