"""One pass over a file: scale, correlations with the targets, the ridge's normal equations, and a sample of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lobmodels.data import Sequences
from lobmodels.metric import WEIGHT_FLOOR
from lobmodels.profile.chunks import Chunk, map_chunks

Array = NDArray[np.float64]
FOLDS = 5
SAMPLE_ROWS = 300_000


@dataclass(frozen=True)
class Moments:
    """The results of one pass over a file; F counts raw columns and features of all groups, K targets.

    `gram[f]` sums z zᵀ over the scored rows of fold f, z = (features, targets, 1); correlations are of scored rows.
    """

    rows: int
    scale: Array  # (4, F + K): mean, std, min, max over all rows
    plain: Array  # (F, K) Pearson correlation with each target
    weighted: Array  # (F, K) the same under the metric's weight of that target
    gram: Array  # (FOLDS, F + K + 1, F + K + 1)
    sample: NDArray[np.float32]  # (S, F) evenly spaced rows
    sample_sequence: NDArray[np.int64]  # (S,) which sequence each comes from


@dataclass(frozen=True)
class _Part:
    """Sums of one chunk, features shifted by the file's first chunk's means so that they do not cancel."""

    rows: int
    sums: Tensor  # (2, F + K): values and squares of all rows, shifted
    low: Tensor  # (F + K,), shifted
    high: Tensor
    gram: Tensor  # (F + K + 1, F + K + 1) of scored rows, shifted
    first: Tensor  # (K, F) Σ w x per target's weight, shifted
    second: Tensor  # (K, F) Σ w x²
    cross: Tensor  # (K, F) Σ w x y
    own: Tensor  # (3, K) Σ w, Σ w y, Σ w y²
    sample: NDArray[np.float32]
    sample_sequence: NDArray[np.int64]


def measure(sequences: Sequences) -> Moments:
    """One pass over all rows of `sequences`."""
    shift: Tensor = next(map_chunks(sequences, _typical, np.arange(min(4, len(sequences)))))
    stride = _stride(len(sequences) * sequences.schema.sequence_length, sequences.schema.sequence_length)
    warmup = sequences.schema.warmup_steps
    total: list[Tensor] | None = None
    low = high = None
    rows, grams = 0, torch.zeros(FOLDS, len(shift) + 1, len(shift) + 1, dtype=torch.float64)
    samples, owners = [], []
    for number, part in enumerate(map_chunks(sequences, lambda chunk: _part(chunk, shift, stride, warmup))):
        added = [part.sums, part.first, part.second, part.cross, part.own]
        total = added if total is None else [a + b for a, b in zip(total, added, strict=True)]
        low = part.low if low is None else torch.minimum(low, part.low)
        high = part.high if high is None else torch.maximum(high, part.high)
        rows += part.rows
        grams[number % FOLDS] += part.gram
        samples.append(part.sample)
        owners.append(part.sample_sequence)
    assert total is not None and low is not None and high is not None, "a data set has sequences"
    sums, first, second, cross, own = total
    mean = sums[0] / rows
    std = (sums[1] / rows - mean.square()).clamp_min(0).sqrt()
    features = first.shape[1]
    return Moments(
        rows=rows,
        scale=torch.stack([mean + shift, std, low + shift, high + shift]).numpy(),
        plain=_plain_correlation(grams.sum(0), features).numpy(),
        weighted=_weighted_correlation(first, second, cross, own).numpy(),
        gram=_unshifted(grams, shift).numpy(),
        sample=np.concatenate(samples),
        sample_sequence=np.concatenate(owners),
    )


def _typical(chunk: Chunk) -> Tensor:
    return torch.cat([chunk.features.mean((0, 1)), chunk.targets.mean((0, 1))])


def _stride(rows: int, length: int) -> int:
    """Distance of sampled rows; shares no factor with the sequence length, or it would see the same steps only."""
    stride = max(1, rows // SAMPLE_ROWS)
    while math.gcd(stride, length) > 1:
        stride += 1
    return stride


def _part(chunk: Chunk, shift: Tensor, stride: int, warmup: int) -> _Part:
    count, length, features = chunk.features.shape
    width = len(shift)
    z = torch.ones(count, length, width + 1, dtype=torch.float64)  # (features, targets) - shift, and a one
    torch.sub(chunk.features, shift[:features], out=z[:, :, :features])
    torch.sub(chunk.targets, shift[features:], out=z[:, :, features:width])
    flat = z.reshape(-1, width + 1)
    scored = torch.zeros(width + 1, width + 1, dtype=torch.float64)
    unscored = torch.zeros_like(scored)
    w = chunk.targets.abs().clamp_min(WEIGHT_FLOOR)[:, warmup:]  # (B, S, K): |y| itself, not shifted
    y = chunk.targets[:, warmup:]
    heavy = torch.cat([w, w * y], dim=2)  # (B, S, 2K)
    sums, squares = torch.zeros(heavy.shape[2], features, dtype=torch.float64), []
    for i in range(count):  # a sequence's rows lie together: no copies of the scored ones
        scored.addmm_(z[i, warmup:].T, z[i, warmup:])
        unscored.addmm_(z[i, :warmup].T, z[i, :warmup])
        x = z[i, warmup:, :features]
        sums.addmm_(heavy[i].T, x)
        squares.append(w[i].T @ x.square())
    targets = w.shape[2]
    everything = scored + unscored
    begin = -(chunk.first * length) % stride
    owners = chunk.first + np.arange(begin, count * length, stride) // length
    return _Part(
        rows=count * length,
        sums=torch.stack([everything[-1, :-1], everything.diagonal()[:-1]]),
        low=flat.amin(0)[:-1],
        high=flat.amax(0)[:-1],
        gram=scored,
        first=sums[:targets],
        second=torch.stack(squares).sum(0),
        cross=sums[targets:],
        own=torch.stack([w.sum((0, 1)), (w * y).sum((0, 1)), (w * y * y).sum((0, 1))]),
        sample=chunk.features.reshape(-1, features)[begin::stride].float().numpy(),
        sample_sequence=owners.astype(np.int64),
    )


def _plain_correlation(gram: Tensor, features: int) -> Tensor:
    count = gram[-1, -1]
    mean = gram[-1, :-1] / count
    covariance = gram[:-1, :-1] / count - mean[:, None] * mean[None, :]
    deviation = covariance.diagonal().clamp_min(0).sqrt()
    between = covariance[:features, features:] / (deviation[:features, None] * deviation[None, features:])
    return torch.nan_to_num(between, nan=0.0, posinf=0.0, neginf=0.0)  # a constant column correlates with nothing


def _weighted_correlation(first: Tensor, second: Tensor, cross: Tensor, own: Tensor) -> Tensor:
    total, y, yy = own
    mean_x, mean_y = first / total[:, None], (y / total)[:, None]
    variance_x = (second / total[:, None] - mean_x.square()).clamp_min(0)
    variance_y = (yy / total)[:, None] - mean_y.square()
    rho = (cross / total[:, None] - mean_x * mean_y) / (variance_x * variance_y).sqrt()
    return torch.nan_to_num(rho, nan=0.0, posinf=0.0, neginf=0.0).T


def _unshifted(grams: Tensor, shift: Tensor) -> Tensor:
    """Normal equations of the values themselves, from those of the shifted ones."""
    back = torch.eye(len(shift) + 1, dtype=torch.float64)
    back[:-1, -1] = shift
    return back @ grams @ back.T
