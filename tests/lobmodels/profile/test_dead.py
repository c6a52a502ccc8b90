"""Data that teaches nothing is told: columns, copies, features and targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lobmodels.data import load_sequences
from lobmodels.profile.audit import audit_file
from lobmodels.profile.dead import Copy, DeadData, constant_features, dead_of
from lobmodels.schema import LOB
from tests.lobmodels.own_data import VARIABLE, table
from tests.lobmodels.spoiled_tables import put


def spoiled(good: pa.Table) -> pa.Table:
    """p6 equals p0, p7 is the negative of p1, v3 is 2, dv2 equals dp1, and t1 is mostly 0."""
    columns = {name: good[name].to_numpy() for name in ("p0", "p1", "dp1", "t1")}
    target = columns["t1"].copy()
    target[np.arange(len(target)) % 10 < 7] = 0
    changes = {"p6": columns["p0"], "p7": -columns["p1"], "dv2": columns["dp1"], "t1": target}
    changes["v3"] = np.full(len(target), 2, np.float32)
    for name, values in changes.items():
        good = put(good, name, values.astype(np.float32))
    return good


EXPECTED = [
    "column v3 is 2 in every row",
    "column p6 is equal to p0 in every row",
    "column p7 is the negative of p1 in every row",
    "column dv2 is equal to dp1 in every row",
    "feature group derived: spread_0 (1 of 10 columns) is constant on this data",
    "feature group temporal: spread_0_change_1, spread_0_change_5 (2 of 3 columns) are constant on this data",
    "feature group interaction: spread_0_p0, spread_0_v2 (2 of 3 columns) are constant on this data",
    "feature group microstructure: spread_change_imbalance (1 of 6 columns) is constant on this data",
    *(
        f"feature group rolling_{kind}: {', '.join(f'spread_0_{word}_{n}' for n in (5, 10, 20, 40))} (4 of 24 columns) "
        "are constant on this data"
        for kind, word in (("mean", "rolling"), ("delta", "delta"))
    ),
    "target t1 is exactly 0 in 70% of the scored rows",
]


def test_every_kind_is_told(good: pa.Table, tmp_path: Path) -> None:
    """One clear line each, the same whether a file is checked or its loaded sequences are profiled."""
    path = tmp_path / "train.parquet"
    pq.write_table(spoiled(good), path)
    audit = audit_file(path)
    assert audit.problems == [] and audit.dead.lines() == EXPECTED
    assert audit.dead.constant == {"v3": 2.0} and audit.dead.copies[1] == Copy("p7", "p1", negative=True)
    sequences = load_sequences(path, tmp_path / "cache")
    flat = sequences.features.reshape(-1, 32)
    ranges = {name: (float(flat[:, j].min()), float(flat[:, j].max())) for j, name in enumerate(LOB.features)}
    assert dead_of(sequences, ranges) == audit.dead


def test_good_data_says_nothing(small_data: Path) -> None:
    """No line for data that is as it should be."""
    assert audit_file(small_data / "train.parquet").dead == DeadData()


def test_one_row_that_differs_is_no_copy(good: pa.Table, tmp_path: Path) -> None:
    """`in every row` is looked up in every row."""
    values = good["p0"].to_numpy().copy()
    values[2999] += 1
    pq.write_table(put(good, "p6", values), tmp_path / "train.parquet")
    assert audit_file(tmp_path / "train.parquet").dead.copies == ()


def test_copies_in_real_data_are_a_note(real_lob: Path) -> None:
    """A book quoted around its mid price has p0 = -p6: told, and no problem."""
    audit = audit_file(real_lob / "valid.parquet")
    assert audit.problems == []
    assert "column p6 is the negative of p0 in every row" in audit.dead.lines()


def test_data_of_another_schema(tmp_path: Path) -> None:
    """Sequences of different lengths are looked at as well; a copy of the target is a leak, and is told."""
    rows = table(VARIABLE, 9, seed=3)
    rows = rows.set_column(rows.column_names.index("c4"), "c4", rows["move"])
    pq.write_table(rows, tmp_path / "train.parquet")
    audit = audit_file(tmp_path / "train.parquet", VARIABLE)
    assert audit.problems == [] and audit.sequences == 9 and audit.shortest < audit.longest <= 60
    assert audit.dead.lines() == ["column move is equal to c4 in every row"]


@pytest.mark.parametrize("noise", [0.0, 1e-12])
def test_noise_of_rounding_is_constant(noise: float) -> None:
    """A feature whose values differ in their last digits alone is constant."""
    rows = np.zeros((40, 32), np.float32)
    rows[:, 28] = 1 + noise * np.arange(40)
    found = constant_features([rows], LOB)
    assert "trade_intensity" in found["derived"] and len(found["lag"]) == 12
    assert constant_features([], replace(LOB)) == {}
