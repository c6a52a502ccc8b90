"""The data's score from batches, on the device of the data: streamed, or of all rows under a plugin's metric."""

from __future__ import annotations

import torch
from torch import Tensor

from lobmodels.metric import Moments, metric_of, whole_score
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


class GatheredScore:
    """A plugin's metric from batches: predictions and targets are kept in float32 on the device, eight bytes a scored
    row and target, until `compute` brings them to the host, where the metric gets them in float64. It waits for the
    device."""

    def __init__(self, schema: Schema, name: str, device: torch.device | str = "cpu") -> None:
        self.schema, self.name, self.device = schema, name, device
        self.parts: list[Tensor] = []  # (2, n, K)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add scored rows: tensors (..., K) of any float type."""
        y = target.reshape(-1, target.shape[-1]).float()
        p = prediction.reshape(y.shape).float()
        clip = self.schema.clip
        self.parts.append(torch.stack([p if clip is None else p.clamp(-clip, clip), y]))

    def compute(self) -> Tensor:
        """The score per target, (K,) in float64. Raises what `lobmodels.metric.whole_score` does."""
        p, y = torch.cat(self.parts, 1).double().cpu().numpy()
        return torch.from_numpy(whole_score(self.name, p, y)).to(self.device)


def score_for(schema: Schema, device: torch.device | str = "cpu") -> StreamingScore | GatheredScore:
    """What takes the batches of data with this schema."""
    name = metric_of(schema).whole
    return StreamingScore(schema, device) if name is None else GatheredScore(schema, name, device)
