"""Differences between two samples: distance of their distributions, and how well one number separates them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]


def ks_distance(a: Values, b: Values) -> float:
    """Two-sample Kolmogorov-Smirnov statistic: the largest gap between the empirical distributions of `a` and `b`.

    Both are one-dimensional. NaN are left out; 0 where a sample is empty.
    """
    return _gap_of_sorted(np.sort(a[~np.isnan(a)]), np.sort(b[~np.isnan(b)]))


def ks_by_column(a: Values, b: Values) -> NDArray[np.float64]:
    """`ks_distance` of each column of two samples (S, F): (F,)."""
    return np.array([ks_distance(a[:, j], b[:, j]) for j in range(a.shape[1])])


def ks_of_parts(values: Values, parts: Sequence[NDArray[np.bool_]]) -> list[float]:
    """KS distance between the `values` (S,) inside each part, a mask (S,), and those outside; sorted once for all."""
    order = np.argsort(values)
    ordered = values[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # equal values are compared together
    found = []
    for part in parts:
        inside = np.cumsum(part[order])[last]
        gap = inside / inside[-1] - (last + 1 - inside) / (len(values) - inside[-1])
        found.append(float(np.abs(gap).max()))
    return found


def auc(negative: Values, positive: Values) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left") + np.searchsorted(ordered, positive, side="right")
    return float(below.mean() / (2 * len(negative)))


def _gap_of_sorted(a: Values, b: Values) -> float:
    if len(a) == 0 or len(b) == 0:
        return 0.0
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    # Between two points of the smaller sample its distribution is flat: the gap is largest beside or at one of them.
    gaps = [
        np.searchsorted(large, small, side=side) / len(large) - np.searchsorted(small, small, side=side) / len(small)
        for side in ("left", "right")
    ]
    return float(max(np.abs(gap).max() for gap in gaps))
