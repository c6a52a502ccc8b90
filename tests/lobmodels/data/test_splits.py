"""The split of validation sequences is the same everywhere and for ever."""

from __future__ import annotations

import numpy as np
import pytest

from lobmodels.data import validation_split
from lobmodels.errors import DataError


def test_validation_split() -> None:
    """Both parts are sorted, disjoint and complete; they depend on n and the fraction alone; a part is never empty."""
    for n, fraction, expected in ((1444, 0.25, 361), (93, 0.25, 23), (3, 0.01, 1), (3, 0.99, 2), (5, 0.0, 0)):
        select, report = validation_split(n, fraction)
        assert len(report) == expected
        np.testing.assert_array_equal(np.sort(np.concatenate([select, report])), np.arange(n))
        np.testing.assert_array_equal(report, np.sort(report))
        np.testing.assert_array_equal(validation_split(n, fraction)[1], report)
    # Written down: a study's reported scores must mean the same sequences under every version.
    assert validation_split(12, 0.25)[1].tolist() == [0, 2, 5]
    for n, fraction in ((10, 1.0), (10, -0.1), (1, 0.5), (10, float("nan"))):
        with pytest.raises(DataError):
            validation_split(n, fraction)
