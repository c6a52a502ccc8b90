"""The data's score streamed batch by batch, on the device of the data."""

from __future__ import annotations

import torch
from torch import Tensor

from lobmodels.metric import Moments, metric_of
from lobmodels.schema import Schema

TINY = 1e-300  # a sum of weights that is 0 divides as this: the moments are then 0


class StreamingScore:
    """`lobmodels.metric.score` from batches: centred moments per target in float64, on the device of the data.

    Batches are merged by the parallel update of Chan, Golub and LeVeque (1979), which does not cancel. `update` never
    waits for the device; `compute` returns a tensor there, (K,) in float64.
    """

    def __init__(self, schema: Schema, device: torch.device | str = "cpu") -> None:
        targets = len(schema.targets)
        self.metric, self.clip = metric_of(schema), schema.clip
        self.weight = torch.zeros(targets, dtype=torch.float64, device=device)
        self.means = torch.zeros(2, targets, dtype=torch.float64, device=device)  # of prediction, target
        self.moments = torch.zeros(3, targets, dtype=torch.float64, device=device)  # pp, py, yy around the means

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add scored rows, at least one: tensors (..., K) of any float type."""
        y = target.reshape(-1, target.shape[-1]).double()
        p = prediction.reshape(y.shape).double()
        p, y, w = self.metric.rows(p if self.clip is None else p.clamp(-self.clip, self.clip), y)
        weight = w.sum(0)
        means = torch.stack([(w * p).sum(0), (w * y).sum(0)]) / weight.clamp_min(TINY)
        p, y = p - means[0], y - means[1]
        wp = w * p
        self.moments += torch.stack([(wp * p).sum(0), (wp * y).sum(0), (w * y * y).sum(0)])
        shift, total = means - self.means, self.weight + weight
        between = torch.stack([shift[0].square(), shift[0] * shift[1], shift[1].square()])
        divisor = total.clamp_min(TINY)
        self.moments += between * (self.weight * weight / divisor)
        self.means += shift * (weight / divisor)
        self.weight = total

    def compute(self) -> Tensor:
        """The score per target so far; NaN where a prediction was not a number, 0 where nothing varies."""
        pp, py, yy = self.moments
        found: Tensor = self.metric.value(Moments(self.weight, self.means[0], self.means[1], pp, py, yy))
        return found
