"""A profile's figures equal independent formulas on a small set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lobmodels.data import Dataset, load_dataset
from lobmodels.data.synthetic import write_dataset
from lobmodels.profile import Profile, profile_dataset, tables
from lobmodels.profile.chunks import all_feature_names
from lobmodels.profile.findings import findings
from lobmodels.schema import LOB

WARMUP = 99


def weighted_correlation(x: np.ndarray, y: np.ndarray) -> float:
    w = np.maximum(np.abs(y), 1e-8)
    x, y = x - (w * x).sum() / w.sum(), y - (w * y).sum() / w.sum()
    return (w * x * y).sum() / np.sqrt((w * x * x).sum() * (w * y * y).sum())


def test_scale_and_correlations(profile: Profile, rows: dict[str, np.ndarray]) -> None:
    """Moments are of all rows, correlations of scored rows, plain and weighted by |target|, for every feature."""
    assert [column.name for column in profile.columns] == list(all_feature_names(LOB))
    assert len(profile.columns) == len(all_feature_names(LOB))
    for j, column in enumerate(profile.columns):
        for part in ("train", "valid"):
            x, y = rows[f"{part} x"][:, :, j], rows[f"{part} y"]
            np.testing.assert_allclose(
                getattr(column, part), [x.mean(), x.std(), x.min(), x.max()], rtol=1e-7, atol=1e-9
            )
            scored = x[:, WARMUP:].ravel()
            for k in range(2):
                target = y[:, WARMUP:, k].ravel()
                plain = np.corrcoef(scored, target)[0, 1]
                assert getattr(column, f"plain_{part}")[k] == pytest.approx(plain, abs=1e-9)
                expected = weighted_correlation(scored, target)
                assert getattr(column, f"weighted_{part}")[k] == pytest.approx(expected, abs=1e-9)


def test_constant_column_is_no_error(small_dataset: Dataset, tmp_path: Path) -> None:
    """A column that never moves correlates with nothing and shifts nowhere; no warning, no NaN in any table."""
    train, valid = (np.array(getattr(small_dataset, part).features) for part in ("train", "valid"))
    train[:, :, 30] = valid[:, :, 30] = 0.0
    flat = Dataset(replace(small_dataset.train, features=train), replace(small_dataset.valid, features=valid), "flat")
    with np.errstate(all="raise", under="ignore"):
        found = profile_dataset(flat)
    column = found.columns[30]
    assert (column.ks, column.mean_shift) == (0.0, 0.0)
    assert column.plain_train == column.weighted_valid == (0.0, 0.0)
    for table in tables(found).values():
        numbers = [value for row in table.rows for value in row if isinstance(value, float)]
        assert np.isfinite(numbers).all()


def test_small_sets(tmp_path: Path) -> None:
    """Two sequences in each file are enough for a profile, one sentence says what they do not support."""
    write_dataset(tmp_path / "data", train=2, valid=2)
    found = profile_dataset(load_dataset(tmp_path / "data"))
    assert "too few to ask a classifier" in "\n".join(findings(found).values())
