"""The score is the challenge's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lobmodels.metric import weighted_pearson


def by_the_rules(prediction: np.ndarray, target: np.ndarray) -> float:
    """The challenge's definition for one target, written down row by row in plain Python floats."""
    rows = [
        (min(6.0, max(-6.0, float(p))), float(y), max(abs(float(y)), 1e-8))
        for p, y in zip(prediction, target, strict=True)
    ]
    total = sum(w for _, _, w in rows)
    mean_p = sum(w * p for p, _, w in rows) / total
    mean_y = sum(w * y for _, y, w in rows) / total
    covariance = sum(w * (p - mean_p) * (y - mean_y) for p, y, w in rows) / total
    variance_p = sum(w * (p - mean_p) ** 2 for p, _, w in rows) / total
    variance_y = sum(w * (y - mean_y) ** 2 for _, y, w in rows) / total
    return covariance / (variance_p * variance_y) ** 0.5 if variance_p > 0 and variance_y > 0 else 0.0


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.floats(0.1, 20), st.integers(0, 2**32 - 1))
def test_equals_the_definition(rows: int, scale: float, seed: int) -> None:
    """Equal to the challenge's definition to 1e-12, clipping and heavy tails included."""
    rng = np.random.default_rng(seed)
    y = (rng.standard_t(2, (rows, 2)) * scale).astype(np.float32)
    p = (0.3 * y + rng.normal(0, scale, (rows, 2))).astype(np.float32)
    expected = [by_the_rules(p[:, k], y[:, k]) for k in range(2)]
    assert weighted_pearson(p, y) == pytest.approx(expected, abs=1e-12)


def test_constant_scores_zero() -> None:
    """A prediction or a target that never varies scores 0, never NaN."""
    y = np.random.default_rng(0).normal(size=(500, 2))
    for p, t in ((np.full_like(y, 0.3), y), (y, np.full_like(y, -2.0)), (np.zeros_like(y), np.zeros_like(y))):
        assert (weighted_pearson(p, t) == 0).all()
