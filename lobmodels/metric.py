"""The challenge's score: the weighted Pearson correlation per target, whole or streamed batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lobmodels.schema import LOB

if TYPE_CHECKING:  # studies are read and ranked with numpy alone; torch is imported where tensors arrive
    import torch
    from torch import Tensor

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


class StreamingPearson:
    """`weighted_pearson` from batches: centred moments per target in float64, on the device of the data.

    Batches are merged by the parallel update of Chan, Golub and LeVeque (1979), which does not cancel. `update` never
    waits for the device; `compute` returns a tensor there, (K,) in float64.
    """

    def __init__(self, targets: int = len(LOB.targets), device: torch.device | str = "cpu") -> None:
        import torch

        self.weight = torch.zeros(targets, dtype=torch.float64, device=device)
        self.means = torch.zeros(2, targets, dtype=torch.float64, device=device)  # of prediction, target
        self.moments = torch.zeros(3, targets, dtype=torch.float64, device=device)  # pp, py, yy around the means

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add scored rows, at least one: tensors (..., K) of any float type."""
        import torch

        y = target.reshape(-1, target.shape[-1]).double()
        p = prediction.reshape(y.shape).double().clamp(-CLIP, CLIP)
        w = y.abs().clamp_min(WEIGHT_FLOOR)
        weight = w.sum(0)
        means = torch.stack([(w * p).sum(0), (w * y).sum(0)]) / weight
        p, y = p - means[0], y - means[1]
        wp = w * p
        self.moments += torch.stack([(wp * p).sum(0), (wp * y).sum(0), (w * y * y).sum(0)])
        shift, total = means - self.means, self.weight + weight
        between = torch.stack([shift[0].square(), shift[0] * shift[1], shift[1].square()])
        self.moments += between * (self.weight * weight / total)
        self.means += shift * (weight / total)
        self.weight = total

    def compute(self) -> Tensor:
        """The correlation per target so far; NaN where a prediction was not a number, 0 where nothing varies."""
        import torch

        pp, py, yy = self.moments
        flat = (pp <= FLAT * self.weight * self.means[0].square()) | (yy <= FLAT * self.weight * self.means[1].square())
        return torch.where(flat, torch.zeros_like(py), py / (pp * yy).sqrt())
