"""The challenge's score: the weighted Pearson correlation per target, whole or streamed batch by batch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

WEIGHT_FLOOR = 1e-8
CLIP = 6.0


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
    p = p - (w * p).sum(0) / total
    y = y - (w * y).sum(0) / total
    covariance = (w * p * y).sum(0) / total
    variances = (w * p * p).sum(0) / total, (w * y * y).sum(0) / total
    valid = (variances[0] > 0) & (variances[1] > 0)
    return np.where(valid, covariance / np.sqrt(np.where(valid, variances[0] * variances[1], 1.0)), 0.0)


class StreamingPearson:
    """`weighted_pearson` from batches: six float64 sums per target, kept on the device of the data.

    `update` never waits for the device; `compute` returns a tensor there, (K,) in float64.
    """

    def __init__(self, targets: int = 2, device: torch.device | str = "cpu") -> None:
        self.sums = torch.zeros(6, targets, dtype=torch.float64, device=device)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add scored rows: tensors (..., K) of any float type."""
        y = target.reshape(-1, target.shape[-1]).double()
        p = prediction.reshape(y.shape).double().clamp(-CLIP, CLIP)
        w = y.abs().clamp_min(WEIGHT_FLOOR)
        wp, wy = w * p, w * y
        self.sums += torch.stack([w.sum(0), wp.sum(0), wy.sum(0), (wp * p).sum(0), (wp * y).sum(0), (wy * y).sum(0)])

    def compute(self) -> Tensor:
        """The correlation per target so far; NaN where a prediction was not finite, 0 where nothing varies."""
        w, p, y, pp, py, yy = self.sums
        mean_p, mean_y = p / w, y / w
        variance_p, variance_y = pp / w - mean_p.square(), yy / w - mean_y.square()
        # A constant leaves rounding noise of the size of its square here, where the two-pass formula leaves none.
        noise = 1e-13
        flat = (variance_p <= noise * (pp / w)) | (variance_y <= noise * (yy / w))
        rho = (py / w - mean_p * mean_y) / (variance_p * variance_y).sqrt()
        return torch.where(flat, torch.zeros_like(rho), rho)
