"""Distances of distributions equal their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lobmodels.distributions import auc, ks_distance


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-4, 4), min_size=1, max_size=12),
    st.lists(st.integers(-4, 4), min_size=1, max_size=12),
)
def test_ks_and_auc_by_definition(a: list[int], b: list[int]) -> None:
    """Both equal their definitions, counted out, with ties."""
    x, y = np.array(a, dtype=np.float32), np.array(b, dtype=np.float32)
    grid = sorted({*a, *b})
    gap = max(abs(np.mean(x <= g) - np.mean(y <= g)) for g in grid)
    assert ks_distance(x, y) == pytest.approx(gap, abs=1e-12)
    assert ks_distance(y, x) == pytest.approx(gap, abs=1e-12)
    pairs = [(v > u) + 0.5 * (v == u) for u in a for v in b]
    assert auc(x, y) == pytest.approx(np.mean(pairs), abs=1e-12)
