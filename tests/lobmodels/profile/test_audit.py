"""Auditing a file: every problem at once, its scale, and how two files differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lobmodels.data import load_sequences
from lobmodels.errors import DataError, Remedy
from lobmodels.profile.audit import audit_file, shifts, warnings
from lobmodels.schema import LOB
from tests.lobmodels.spoiled_tables import poke, put, shuffled


def test_audit_lists_every_problem(good: pa.Table, tmp_path: Path) -> None:
    """Several problems of one file are all reported, those of the rows beside those of the columns."""
    table = poke(poke(good, "p7", 5, np.nan), "step_in_seq", 1500, 499)
    table = table.drop(["v3"]).append_column("mid", table["p0"])
    path = tmp_path / "broken.parquet"
    pq.write_table(put(table, "dv1", table["dv1"].cast(pa.string()).combine_chunks()), path)
    audit = audit_file(path)
    text = "; ".join(audit.problems)
    for part in ("missing column v3", "extra column mid", "dv1 has type string", "column p7", "repeats step 499"):
        assert part in text
    assert audit.nan == 1
    assert "v3" not in audit.scale and "v4" in audit.scale
    with pytest.raises(DataError, match=r"\(and 2 more\)") as error:
        load_sequences(path)
    assert (error.value.remedy, error.value.subject) == (Remedy.CHECK_DATA, str(path))


def test_wholly_shuffled_file_is_told_quickly(good: pa.Table, tmp_path: Path) -> None:
    """The order of a file that broke at every row is not followed to its end, and says so."""
    path = tmp_path / "shuffled.parquet"
    pq.write_table(shuffled(good, slice(0, 3000)), path)
    problems = audit_file(path).problems
    assert problems[0].startswith("rows are shuffled")
    assert any("was not followed past row" in problem for problem in problems)


def test_audit_measures_scale_and_shift(small_data: Path) -> None:
    """Means, deviations and ranges equal numpy's on the whole file; the simulator's shift is found."""
    train, valid = (audit_file(small_data / f"{name}.parquet") for name in ("train", "valid"))
    assert (train.problems, train.sequences, train.rows, train.scored_rows) == ([], 24, 24000, 24 * 901)
    table = pq.read_table(small_data / "train.parquet")
    for name in (*LOB.features, *LOB.targets):
        column = table[name].to_numpy().astype(np.float64)
        scale = train.scale[name]
        expected = [column.mean(), column.std(), column.min(), column.max()]
        np.testing.assert_allclose([scale.mean, scale.std, scale.min, scale.max], expected, rtol=1e-9, atol=1e-12)
    found = shifts(train, valid)
    assert [shift.ks for shift in found] == sorted((shift.ks for shift in found), reverse=True)
    assert found[0].column.startswith("p") and found[0].ks > 0.15
    assert warnings([train, valid]) == []


def test_repeated_sequences_are_warned_of(good: pa.Table, tmp_path: Path) -> None:
    """A validation sequence that is in train too, or twice in a file, is no format error but is told."""
    copy = put(good.slice(0, 1000), "seq_ix", np.full(1000, 10**6))
    pq.write_table(pa.concat_tables([good, copy]), tmp_path / "train.parquet")
    pq.write_table(good.slice(1000), tmp_path / "valid.parquet")
    audits = [audit_file(tmp_path / f"{name}.parquet") for name in ("train", "valid")]
    assert [audit.problems for audit in audits] == [[], []]
    text = "; ".join(warnings(audits))
    assert "train.parquet: 1 sequences repeat" in text
    assert "2 sequences of valid.parquet are in train.parquet too" in text
