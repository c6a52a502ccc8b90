"""Describes the targets: their autocorrelation, how large moves cluster, and which rows carry the metric's weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.data import Sequences
from lobmodels.metric import WEIGHT_FLOOR

Array = NDArray[np.float64]
LAGS = 100
LARGE = 0.05  # a large move is among this share of largest |target|
TOP_SHARES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5)
CHUNK = 256


@dataclass(frozen=True)
class TargetProfile:
    """One file's targets; K of them. Weights and concentration are of scored rows, the rest of all rows."""

    autocorrelation: Array  # (LAGS + 1, K)
    size_autocorrelation: Array  # (LAGS + 1, K) of |y|
    cross_correlation: Array  # (2 LAGS + 1,) of the first target now with the second `lag` steps later, -LAGS..LAGS
    correlation: float  # of the first two targets in the same row
    large_threshold: Array  # (K,) |y| that the largest `LARGE` of rows exceed
    large_lift: Array  # (LAGS + 1, K) P(large at t + lag | large at t) / P(large)
    quantiles: Array  # (len(QUANTILES), K)
    top_share: Array  # (len(TOP_SHARES), K) share of the metric's weight on the rows of largest |y|
    top_share_sequences: Array  # (len(TOP_SHARES), K) the same over whole sequences
    effective_sequences: Array  # (K,) (Σ w)² / Σ w² over sequences: how many equally weighted ones would count as much
    sequence_weight: Array  # (N, K) share of the weight that each sequence carries


QUANTILES = (0.0, 0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1.0)


def profile_targets(sequences: Sequences) -> TargetProfile:
    """Measure the targets of `sequences`, a few hundred sequences at a time."""
    schema = sequences.schema
    k = len(schema.targets)
    mean, quantiles, threshold, tops, sizes = [], [], [], [], []
    for j in range(k):
        column = np.array(sequences.targets[:, :, j]).ravel()
        size = np.abs(column)
        sizes.append(size.mean(dtype=np.float64))
        threshold.append(np.partition(size, int(len(size) * (1 - LARGE)))[int(len(size) * (1 - LARGE))])
        scored = np.sort(size.reshape(len(sequences), -1)[:, schema.warmup_steps :], axis=None)[::-1]
        tops.append([_top(scored, share) for share in TOP_SHARES])
        mean.append(column.mean(dtype=np.float64))
        column.sort()
        quantiles.append(column[np.round(np.array(QUANTILES) * (len(column) - 1)).astype(np.int64)])
    weight = np.maximum(np.abs(sequences.targets[:, schema.warmup_steps :]), WEIGHT_FLOOR).sum(1, dtype=np.float64)
    by_sequence = weight / weight.sum(0)  # (N, K)
    lagged = _LaggedSums(schema.sequence_length, k)
    for start in range(0, len(sequences), CHUNK):
        lagged.add(
            np.asarray(sequences.targets[start : start + CHUNK], dtype=np.float64),
            np.array(mean),
            np.array(sizes),
            np.array(threshold),
        )
    return TargetProfile(
        autocorrelation=lagged.correlation("y"),
        size_autocorrelation=lagged.correlation("size"),
        cross_correlation=lagged.cross(),
        correlation=float(lagged.cross()[LAGS]),
        large_threshold=np.array(threshold, dtype=np.float64),
        large_lift=lagged.lift(),
        quantiles=np.array(quantiles, dtype=np.float64).T,
        top_share=np.array(tops).T,
        top_share_sequences=np.array(
            [[_top(np.sort(by_sequence[:, j])[::-1], share) for j in range(k)] for share in TOP_SHARES]
        ),
        effective_sequences=1 / (by_sequence**2).sum(0),
        sequence_weight=by_sequence,
    )


def _top(descending: NDArray[np.floating], share: float) -> float:
    """Share of the sum that the largest `share` of the entries carry; at least one entry is looked at."""
    count = max(1, round(len(descending) * share))
    total = descending.sum(dtype=np.float64)
    return float(descending[:count].sum(dtype=np.float64) / total) if total > 0 else 0.0


def _power(spectrum: NDArray[np.complex128]) -> Array:
    return spectrum.real**2 + spectrum.imag**2


class _LaggedSums:
    """Products of series with themselves some steps later, summed over sequences by way of their spectra."""

    def __init__(self, length: int, targets: int) -> None:
        self.length, self.targets = length, targets
        self.padded = 1 << (2 * length - 1).bit_length()  # no wrap-around
        self.power: dict[str, NDArray[Any]] = {}
        self.sequences = 0
        self.large_steps = np.zeros((length, targets))  # large rows at each step

    def add(self, y: Array, mean: Array, size_mean: Array, threshold: Array) -> None:
        """Add sequences (n, T, K)."""
        size = np.abs(y)
        large = (size > threshold).astype(np.float64)
        spectrum = self._spectrum(y - mean)
        self._sum("y", _power(spectrum))
        self._sum("size", _power(self._spectrum(size - size_mean)))
        self._sum("large", _power(self._spectrum(large)))
        if self.targets > 1:
            self._sum("cross", (np.conj(spectrum[:, :, :1]) * spectrum[:, :, 1:2]))
        self.sequences += len(y)
        self.large_steps += large.sum(0)

    def _spectrum(self, series: Array) -> NDArray[np.complex128]:
        return np.asarray(np.fft.rfft(series, self.padded, axis=1))

    def _sum(self, name: str, values: NDArray[Any]) -> None:
        self.power[name] = self.power.get(name, 0) + values.sum(0)

    def _lagged(self, name: str) -> Array:
        """(padded, K) sums of products; negative lags at the end."""
        return np.fft.irfft(self.power[name], self.padded, axis=0)

    def correlation(self, name: str) -> Array:
        sums = self._lagged(name)[: LAGS + 1]
        means = sums / (self.sequences * (self.length - np.arange(LAGS + 1)))[:, None]
        return means / np.where(means[0] > 0, means[0], 1.0)

    def cross(self) -> Array:
        if self.targets < 2:
            return np.zeros(2 * LAGS + 1)
        sums = self._lagged("cross")[:, 0]
        lags = np.arange(-LAGS, LAGS + 1)
        means = sums[lags] / (self.sequences * (self.length - np.abs(lags)))
        variance = self._lagged("y")[0] / (self.sequences * self.length)
        scale = np.sqrt(variance[0] * variance[1])
        return means / scale if scale > 0 else means * 0.0

    def lift(self) -> Array:
        both = self._lagged("large")[: LAGS + 1]
        upto = np.cumsum(self.large_steps, axis=0)  # (T, K)
        ahead = upto[self.length - 1 - np.arange(LAGS + 1)]  # large rows that have a row `lag` steps later
        base = upto[-1] / (self.sequences * self.length)
        given = both / np.maximum(ahead, 1)
        return given / np.where(base > 0, base, 1.0)
