"""How far two samples of one column lie apart."""

import numpy as np
from numpy.typing import NDArray


def ks_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Two-sample Kolmogorov-Smirnov statistic: the largest gap between the empirical distributions of `a` and `b`.

    NaN are left out; 0 where a sample is empty.
    """
    a, b = np.sort(a[~np.isnan(a)]), np.sort(b[~np.isnan(b)])
    return ks_distance_sorted(a, b)


def ks_distance_sorted(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """`ks_distance` of samples that are sorted and hold no NaN."""
    if len(a) == 0 or len(b) == 0:
        return 0.0
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    # The gap changes sign of slope at points of the smaller sample only: look just before and at each of them.
    below = np.searchsorted(large, small, side="left") / len(large)
    upto = np.searchsorted(large, small, side="right") / len(large)
    own_below = np.searchsorted(small, small, side="left") / len(small)
    own_upto = np.searchsorted(small, small, side="right") / len(small)
    return float(max(np.abs(below - own_below).max(), np.abs(upto - own_upto).max()))
