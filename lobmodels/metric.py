"""The challenge's score: the weighted Pearson correlation per target. numpy alone: no command waits for torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

WEIGHT_FLOOR = 1e-8
CLIP = 6.0
FLAT = 1e-24  # a variance below this share of the squared mean is the rounding noise of a constant


def weighted_pearson(prediction: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """Weighted Pearson correlation per target over all rows pooled, in float64.

    `prediction` and `target` have shape (..., K) and hold scored rows only; the result has shape (K,). Weights are
    max(|y|, 1e-8), predictions are clipped to ±6, moments are divided by the weight sum, and a target or prediction
    without variance scores 0. Source: the challenge's rules.
    """
    y = np.asarray(target, dtype=np.float64)
    y = y.reshape(-1, y.shape[-1])
    p = np.clip(np.asarray(prediction, dtype=np.float64).reshape(y.shape), -CLIP, CLIP)
    w = np.maximum(np.abs(y), WEIGHT_FLOOR)
    total = w.sum(0)
    mean_p, mean_y = (w * p).sum(0) / total, (w * y).sum(0) / total
    p, y = p - mean_p, y - mean_y
    covariance = (w * p * y).sum(0) / total
    variance_p, variance_y = (w * p * p).sum(0) / total, (w * y * y).sum(0) / total
    varies = (variance_p > FLAT * mean_p**2) & (variance_y > FLAT * mean_y**2)
    return np.where(varies, covariance / np.sqrt(np.where(varies, variance_p * variance_y, 1.0)), 0.0)
