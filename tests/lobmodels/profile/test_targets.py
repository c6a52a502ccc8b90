"""What is said of the targets equals its definition."""

from __future__ import annotations

import numpy as np
import pytest

from lobmodels.profile import Profile
from lobmodels.profile.targets import LAGS, LARGE, TOP_SHARES

WARMUP = 99


def test_targets_by_definition(profile: Profile, rows: dict[str, np.ndarray]) -> None:
    """Autocorrelation, lift, concentration and effective sequences equal their definitions."""
    y, found = rows["train y"], profile.train_targets
    centred = y - y.mean((0, 1))
    size = np.abs(y)
    large = size > np.quantile(size.reshape(-1, 2), 1 - LARGE, axis=0)
    for lag in (1, 7, LAGS):
        product = (centred[:, lag:] * centred[:, :-lag]).mean((0, 1)) / (centred**2).mean((0, 1))
        np.testing.assert_allclose(found.autocorrelation[lag], product, rtol=1e-6, atol=1e-9)
        lift = (large[:, lag:] & large[:, :-lag]).sum((0, 1)) / large[:, :-lag].sum((0, 1)) / large.mean((0, 1))
        np.testing.assert_allclose(found.large_lift[lag], lift, rtol=2e-2)
    later = (centred[:, :-9, 0] * centred[:, 9:, 1]).mean() / np.sqrt(np.prod((centred**2).mean((0, 1))))
    assert found.cross_correlation[LAGS + 9] == pytest.approx(later, abs=1e-9)
    earlier = (centred[:, 9:, 0] * centred[:, :-9, 1]).mean() / np.sqrt(np.prod((centred**2).mean((0, 1))))
    assert found.cross_correlation[LAGS - 9] == pytest.approx(earlier, abs=1e-9)
    assert found.correlation == pytest.approx(np.corrcoef(y.reshape(-1, 2).T)[0, 1], abs=1e-9)
    weight = np.sort(size[:, WARMUP:].reshape(-1, 2), axis=0)[::-1]
    for i, share in enumerate(TOP_SHARES):
        expected = weight[: round(share * len(weight))].sum(0) / weight.sum(0)
        np.testing.assert_allclose(found.top_share[i], expected, rtol=1e-6)
    per_sequence = size[:, WARMUP:].sum(1)
    np.testing.assert_allclose(
        found.effective_sequences, per_sequence.sum(0) ** 2 / (per_sequence**2).sum(0), rtol=1e-6
    )
