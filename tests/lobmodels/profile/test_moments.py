"""The sample of rows sees every step."""

from __future__ import annotations

import numpy as np
import pytest

from lobmodels.data import Dataset
from lobmodels.profile.moments import measure


def test_sample_sees_every_step(small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thinned rows fall on all steps of a sequence, not on the same few in each."""
    monkeypatch.setattr("lobmodels.profile.moments.SAMPLE_ROWS", 3000)
    found = measure(small_dataset.train)
    assert 2000 < len(found.sample) <= 3500
    flat = np.array(small_dataset.train.features).reshape(-1, 32)
    stride = next(s for s in range(8, 20) if np.array_equal(found.sample[:50, :32], flat[::s][:50]))
    assert np.gcd(stride, 1000) == 1
    np.testing.assert_array_equal(found.sample[:, :32], flat[::stride])
    np.testing.assert_array_equal(found.sample_sequence, np.arange(0, 24000, stride) // 1000)
