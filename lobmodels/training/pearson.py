"""The challenge's score streamed batch by batch on the device of the data, for the validation of every epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from lobmodels.metric import CLIP, FLAT, WEIGHT_FLOOR
from lobmodels.schema import LOB


class StreamingPearson:
    """`weighted_pearson` from batches: centred moments per target in float64, on the device of the data.

    Batches are merged by the parallel update of Chan, Golub and LeVeque (1979), which does not cancel. `update` never
    waits for the device; `compute` returns a tensor there, (K,) in float64.
    """

    def __init__(self, targets: int = len(LOB.targets), device: torch.device | str = "cpu") -> None:
        self.weight = torch.zeros(targets, dtype=torch.float64, device=device)
        self.means = torch.zeros(2, targets, dtype=torch.float64, device=device)  # of prediction, target
        self.moments = torch.zeros(3, targets, dtype=torch.float64, device=device)  # pp, py, yy around the means

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add scored rows, at least one: tensors (..., K) of any float type."""
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
        pp, py, yy = self.moments
        flat = (pp <= FLAT * self.weight * self.means[0].square()) | (yy <= FLAT * self.weight * self.means[1].square())
        return torch.where(flat, torch.zeros_like(py), py / (pp * yy).sqrt())
