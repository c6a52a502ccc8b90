"""The shift between train and validation rows is measured truly, and once a data set."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import ks_2samp

from lobmodels.distributions import ks_distance
from lobmodels.training import diagnostics
from lobmodels.training.diagnostics import most_shifted
from tests.lobmodels.training.short_data import short_dataset


def test_equals_scipys_statistic() -> None:
    """The distance of two samples of unequal size, ties included."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 300).round(1), rng.normal(0.4, 1.3, 170).round(1)
    assert ks_distance(a, b) == pytest.approx(ks_2samp(a, b).statistic)


def test_a_moved_column_is_the_most_shifted() -> None:
    """A known effect is found: the column that was moved comes first, with its distance."""
    dataset = dataclasses.replace(short_dataset(), fingerprint="moved")
    dataset.valid.features[..., 7] += 3.0
    assert most_shifted(dataset)[0][0] == 7
    assert most_shifted(dataset)[0][1] > 0.7


def test_measured_once_a_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs on one data set share the measurement; another data set has its own."""
    asked = []
    monkeypatch.setattr(diagnostics, "_shifts", {})
    measure = diagnostics.ks_by_column
    monkeypatch.setattr(diagnostics, "ks_by_column", lambda a, b: asked.append(1) or measure(a, b))
    first, other = short_dataset(), short_dataset(train=9)
    assert most_shifted(first) == most_shifted(first)[:5] and len(most_shifted(first, 3)) == 3
    assert len(asked) == 1
    most_shifted(other)
    assert len(asked) == 2
