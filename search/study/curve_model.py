"""Predicts from the first epochs of a run, and from its parameters, how much its best score will still rise.

One ridge regression for each epoch at which runs are judged maps the curve so far and the parameters to "final best
minus best so far" (after Baker et al. 2017, arXiv:1705.10823).

The final score of a pruned run is unknown. Which runs went on past a judged epoch is not random: those that rose most
did. Leaving them out would make every early forecast too good. So the
regressions are fitted from the last judged epoch back to the first, and a pruned run enters with the forecast made
where it was pruned, as in the pricing of American options by regression (Longstaff and Schwartz 2001). Its forecast's
variance is added back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

Floats = NDArray[np.float64]

CURVE_FEATURES = 3
CURVE_WEIGHT = 4.0  # the penalty on the curve's columns, which say most, is this squared times smaller than on others
PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # of columns with unit variance; leave-one-out error chooses
SMALLEST_SPREAD = 1e-6  # a column or an error below this is constant


class Encoder:
    """Parameters as numbers: ranges go to [-1, 1], choices to one column each, what is not asked to 0."""

    def __init__(self) -> None:
        self.columns: dict[str, slice] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        self.width = 0

    def learn(self, distributions: dict[str, BaseDistribution]) -> bool:
        """Add columns for parameters not seen before; whether there were any."""
        new = {name: dist for name, dist in distributions.items() if name not in self.columns}
        for name, distribution in new.items():
            width = len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else 1
            self.columns[name] = slice(self.width, self.width + width)
            self.distributions[name] = distribution
            self.width += width
        return bool(new)

    def encode(self, params: dict[str, Any]) -> Floats:
        """One trial's parameters, (D,)."""
        row = np.zeros(self.width)
        for name, value in params.items():
            if name not in self.columns:
                continue
            distribution: Any = self.distributions[name]
            internal = distribution.to_internal_repr(value)
            if isinstance(distribution, CategoricalDistribution):
                row[self.columns[name].start + int(internal)] = 1.0
            else:
                row[self.columns[name]] = _to_unit(internal, distribution)
        return row


class Ledger:
    """Finished trials as arrays, in the order of their numbers."""

    def __init__(self, trials: Sequence[FrozenTrial], planned: int) -> None:
        """`trials` are complete or pruned and have reported; `planned` is a trial's epochs where it does not say."""
        self.encoder = Encoder()
        for trial in trials:
            self.encoder.learn(trial.distributions)
        curves = [curve_of(trial) for trial in trials]
        longest = max(map(len, curves), default=0)
        self.parameters = np.array([self.encoder.encode(trial.params) for trial in trials])  # (N, D)
        self.best = np.array([running_best(curve, longest) for curve in curves])  # (N, E), constant after the end
        self.recent = np.array([running_mean(curve, longest) for curve in curves])  # (N, E)
        self.lengths = np.array([len(curve) for curve in curves])
        self.planned = np.array([planned_epochs(trial, planned) for trial in trials])
        self.complete = np.array([trial.state == TrialState.COMPLETE for trial in trials])
        self.default_planned = planned

    @property
    def final(self) -> Floats:
        """Best score of each run, (N,); of a pruned run, the best until then."""
        return self.best[:, -1]


@dataclass(frozen=True)
class Forecast:
    """What a run's best score will be at its end: a normal distribution."""

    mean: float
    sd: float

    def excess(self, value: float) -> float:
        """Expected amount above `value`, counting ends below it as 0."""
        z = (self.mean - value) / self.sd
        density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        return self.sd * (density + z * 0.5 * math.erfc(-z / math.sqrt(2.0)))


class CurveModel:
    """One regression per epoch in `looks`, fitted to the ledger if at least `least` complete runs got further."""

    def __init__(self, ledger: Ledger, looks: Sequence[int], least: int) -> None:
        self._regressions: dict[int, _Regression] = {}
        self._ledger = ledger
        final = ledger.final.copy()
        variance = np.where(ledger.complete, 0.0, np.nan)  # of what `final` holds; NaN: not known
        for look in sorted((epoch for epoch in looks if epoch <= ledger.best.shape[1]), reverse=True):
            rows = (ledger.lengths > look) & np.isfinite(variance)
            if np.count_nonzero(rows & ledger.complete) < least:
                continue
            x = _features(ledger.best, ledger.recent, ledger.parameters, look, ledger.planned)
            regression = _Regression.fit(x[rows], (final - ledger.best[:, look - 1])[rows], variance[rows])
            self._regressions[look] = regression
            pruned_here = ~ledger.complete & (ledger.lengths == look)
            if pruned_here.any():
                final[pruned_here] += np.maximum(regression.predict(x[pruned_here]), 0.0)
                variance[pruned_here] = regression.sd**2

    def forecast(self, trial: FrozenTrial, look: int) -> Forecast | None:
        """The forecast for a run after `look` epochs; None where too few runs have got further."""
        regression = self._regressions.get(look)
        if regression is None:
            return None
        curve = curve_of(trial)[:look]
        best, recent = running_best(curve, look), running_mean(curve, look)
        own = self._ledger.encoder.encode(trial.params)
        planned = np.array([planned_epochs(trial, self._ledger.default_planned)])
        x = _features(best[None], recent[None], own[None], look, planned)
        return Forecast(float(best[-1]) + max(float(regression.predict(x)[0]), 0.0), regression.sd)


@dataclass(frozen=True)
class _Regression:
    centre: Floats  # (F,)
    scale: Floats
    weights: Floats
    intercept: float
    sd: float  # standard deviation of a forecast's error

    @staticmethod
    def fit(x: Floats, y: Floats, variance: Floats) -> _Regression:
        """Ridge on standardised columns, with the penalty that has the smallest leave-one-out error.

        One eigendecomposition serves every penalty. The curve's columns are stretched, so that they are shrunk less.
        """
        centre, scale = x.mean(0), x.std(0)
        scale = np.where(scale < SMALLEST_SPREAD, np.inf, scale)
        scale[:CURVE_FEATURES] /= CURVE_WEIGHT
        z, mean = (x - centre) / scale, float(y.mean())
        values, vectors = np.linalg.eigh(z.T @ z)
        rotated = z @ vectors  # (N, F)
        target = rotated.T @ (y - mean)
        shrunk = 1.0 / (np.maximum(values, 0.0)[:, None] + np.array(PENALTIES))  # (F, P)
        leverage = 1.0 / len(y) + (rotated**2) @ shrunk
        errors = ((y - mean)[:, None] - rotated @ (shrunk * target[:, None])) / np.maximum(1.0 - leverage, 0.05)
        squared = (errors**2).mean(0) + variance.mean()
        best = int(squared.argmin())
        weights = vectors @ (shrunk[:, best] * target)
        return _Regression(centre, scale, weights, mean, max(math.sqrt(squared[best]), SMALLEST_SPREAD))

    def predict(self, x: Floats) -> Floats:
        return self.intercept + ((x - self.centre) / self.scale) @ self.weights


def planned_epochs(trial: FrozenTrial, default: int) -> int:
    """Epochs that the trial has without early stopping or pruning."""
    return int(trial.params.get("epochs", default))


def curve_of(trial: FrozenTrial) -> Floats:
    """Scores by epoch, (E,)."""
    return np.array([trial.intermediate_values[step] for step in sorted(trial.intermediate_values)])


def running_best(curve: Floats, length: int) -> Floats:
    """Best score so far, (length,); the last one goes on."""
    return _extended(np.maximum.accumulate(curve), length)


def running_mean(curve: Floats, length: int, window: int = 3) -> Floats:
    """Mean of the last `window` scores, (length,); the last one goes on."""
    sums = np.concatenate([[0.0], np.cumsum(curve)])
    ends = np.arange(1, len(curve) + 1)
    starts = np.maximum(ends - window, 0)
    return _extended((sums[ends] - sums[starts]) / (ends - starts), length)


def _features(best: Floats, recent: Floats, parameters: Floats, look: int, planned: NDArray[np.int64]) -> Floats:
    """Features (N, F) of runs after `look` epochs: the curve's first, then the share of the plan, then parameters."""
    before = max(look - math.ceil(look / 3), 1)
    now = best[:, look - 1]
    curve = np.stack([now, now - best[:, before - 1], recent[:, look - 1]], axis=1)
    return np.hstack([curve, (look / planned)[:, None], parameters])


def _extended(values: Floats, length: int) -> Floats:
    return np.concatenate([values, np.full(length - len(values), values[-1])]) if length > len(values) else values


def _to_unit(internal: float, distribution: Any) -> float:
    low, high = distribution.low, distribution.high
    if distribution.log:
        internal, low, high = math.log(internal), math.log(low), math.log(high)
    return 2.0 * (internal - low) / (high - low) - 1.0 if high > low else 0.0
