"""Searched parameters as factors with a few levels each, and an additive model of the score over them.

A search does not try its values evenly: good regions are visited more often, and parameters move together. Plain
averages over one parameter therefore mix its own effect with the effects of the parameters that moved with it. The
additive model score = m + sum of one effect a parameter takes the others into account. It is fitted by ridge regression
on the level indicators, the penalty chosen by generalised cross-validation (Golub, Heath and Wahba 1979), and
bootstrapped over runs for its uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.report.numbers import SEED, Floats
from search.report.record import Trial
from search.studyfile.parameters import Choices, FloatRange, IntRange, Parameter, show

BINS = 5
FULL = 5  # runs that a level of a range should hold
FEW = 6  # whole numbers up to so many are levels of their own
PENALTIES = np.geomspace(0.3, 300, 13)
RESAMPLES = 100


@dataclass(frozen=True)
class Factor:
    """One parameter over n runs. `index` (n,) is the level of each run, -1 where the parameter means nothing."""

    name: str
    parameter: Parameter
    labels: tuple[str, ...]
    index: NDArray[np.int64]
    values: tuple[Any, ...]  # of each run, None where the parameter is inactive
    centers: tuple[float | None, ...]  # of numeric levels: median value

    @property
    def counts(self) -> NDArray[np.int64]:
        """Runs at each level."""
        return np.bincount(self.index[self.index >= 0], minlength=len(self.labels))

    @property
    def numeric(self) -> bool:
        """Whether its levels are intervals of a range."""
        return any(center is not None for center in self.centers)


def factors(parameters: dict[str, Parameter], trials: Sequence[Trial]) -> list[Factor]:
    """A factor for each searched parameter that took at least two levels."""
    made = [
        _factor(name, parameter, [usable(parameter, t.configuration.get(name)) for t in trials])
        for name, parameter in parameters.items()
    ]
    return [factor for factor in made if np.count_nonzero(factor.counts) > 1]


def position(parameter: Parameter, value: float) -> float:
    """Where a value lies in its range: 0 at the lower bound, 1 at the upper; by ratio in a logarithmic range."""
    assert isinstance(parameter, (IntRange, FloatRange))
    low, high = parameter.bounds
    if parameter.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def at_position(parameter: Parameter, place: float) -> float:
    """The inverse of `position`."""
    assert isinstance(parameter, (IntRange, FloatRange))
    low, high = parameter.bounds
    return low * (high / low) ** place if parameter.log else low + place * (high - low)


def _factor(name: str, parameter: Parameter, values: list[Any]) -> Factor:
    if isinstance(parameter, Choices):
        options = list(parameter.choices)
        # Trials of an older revision may hold a choice that this one has not.
        options += [v for v in dict.fromkeys(values) if v is not None and v not in options]
        index = [-1 if value is None else options.index(value) for value in values]
        return _made(name, parameter, [show(o) for o in options], index, values, [None] * len(options))
    assert isinstance(parameter, (IntRange, FloatRange))
    extra = list(parameter.extra)
    inside = np.array([float(v) for v in values if v is not None and v not in extra])
    edges = _edges(parameter, inside)
    labels = [show(value) for value in extra] + _labels(parameter, edges)
    index = []
    for value in values:
        if value is None:
            index.append(-1)
        elif value in extra:
            index.append(extra.index(value))
        else:
            place = int(np.searchsorted(edges[1:-1], float(value), side="right"))
            index.append(len(extra) + place)
    found = np.array(index)
    centers: list[float | None] = [None] * len(extra)
    for level in range(len(extra), len(labels)):
        members = [float(v) for v, i in zip(values, found, strict=True) if i == level]
        centers.append(float(np.median(members)) if members else None)
    return _made(name, parameter, labels, index, values, centers)


def _made(
    name: str, parameter: Parameter, labels: list[str], index: list[int], values: list[Any], centers: list[float | None]
) -> Factor:
    return Factor(name, parameter, tuple(labels), np.array(index, dtype=np.int64), tuple(values), tuple(centers))


def usable(parameter: Parameter, value: Any) -> Any:
    """A value of the kind the parameter has, or None: a trial made by other software may hold anything."""
    if isinstance(parameter, Choices):
        return value if isinstance(value, (bool, int, float, str)) else None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if number and (value > 0 or not parameter.log or value in parameter.extra) else None  # type: ignore[union-attr]


def _edges(parameter: IntRange | FloatRange, values: Floats) -> Floats:
    """Borders of the levels of a range: every whole number where they are few, else equal shares of the runs."""
    low, high = parameter.bounds
    if not len(values):
        return np.array([low, high], dtype=float)
    distinct = np.unique(values)
    if isinstance(parameter, IntRange) and len(distinct) <= FEW:
        middle = (distinct[1:] + distinct[:-1]) / 2
    else:
        bins = int(np.clip(len(values) // FULL, 1, BINS))
        middle = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
        middle = middle[(middle > distinct[0]) & (middle <= distinct[-1])]
    return np.array([min(low, distinct[0]), *middle, max(high, distinct[-1])], dtype=float)


def _labels(parameter: IntRange | FloatRange, edges: Floats) -> list[str]:
    if isinstance(parameter, IntRange):
        starts = [math.ceil(edge) for edge in edges[:-1]]
        ends = [math.ceil(edge) - 1 for edge in edges[1:-1]] + [int(edges[-1])]
        step = parameter.step
        ends = [start + (end - start) // step * step for start, end in zip(starts, ends, strict=True)]
        return [str(a) if a >= b else f"{a} to {b}" for a, b in zip(starts, ends, strict=True)]
    return [f"{edges[i]:.2g} to {edges[i + 1]:.2g}" for i in range(len(edges) - 1)]


@dataclass(frozen=True)
class Additive:
    """The fitted model. `effects[f]` (levels,) are deviations from the mean; `samples[f]` (B, levels) bootstrapped."""

    mean: float
    effects: list[Floats]
    samples: list[Floats]
    fitted: Floats  # (n,)
    explained: float  # share of the variance of runs that were left out, one at a time, that the model predicts


def fit(values: Floats, found: Sequence[Factor], resamples: int = RESAMPLES) -> Additive:
    """Fit the additive model to the values (n,) of the runs the factors describe."""
    design, owners = _design(found)
    n = len(values)
    mean = float(values.mean())
    centred = values - mean
    center = design.mean(axis=0)
    x = design - center
    penalty, leverage = _penalty(x, centred)
    weights = np.ones(n)
    coefficients = _solve(x, centred, weights, penalty)
    residual = centred - x @ coefficients
    left_out = residual / np.clip(1 - leverage, 1e-3, None)
    total = float(((centred * n / max(n - 1, 1)) ** 2).sum())
    rng = np.random.default_rng(SEED)
    draws = [_solve(x, centred, rng.multinomial(n, np.full(n, 1 / n)).astype(float), penalty) for _ in range(resamples)]
    effects = [_centred(coefficients[owners == f], factor) for f, factor in enumerate(found)]
    samples = [np.array([_centred(d[owners == f], factor) for d in draws]) for f, factor in enumerate(found)]
    explained = 1 - float((left_out**2).sum()) / total if total > 0 else 0.0
    return Additive(mean, effects, samples, mean + x @ coefficients, max(explained, 0.0))


def _design(found: Sequence[Factor]) -> tuple[Floats, NDArray[np.int64]]:
    """Indicators (n, levels of all factors), and the factor each column belongs to."""
    columns, owners = [], []
    for f, factor in enumerate(found):
        for level in range(len(factor.labels)):
            columns.append((factor.index == level).astype(float))
            owners.append(f)
    return np.array(columns).T, np.array(owners)


def _penalty(x: Floats, y: Floats) -> tuple[float, Floats]:
    """The ridge penalty of least generalised cross-validation error, and the leverage (n,) of each run under it."""
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    projected = u.T @ y
    n = len(y)
    best = (math.inf, float(PENALTIES[-1]), np.zeros(n))
    for penalty in PENALTIES:
        kept = s**2 / (s**2 + penalty)
        residual = y - u @ (kept * projected)
        freedom = n - 1 - kept.sum()
        if freedom <= 0:
            continue
        error = n * float(residual @ residual) / freedom**2
        if error < best[0]:
            best = (error, float(penalty), (u**2 * kept).sum(axis=1) + 1 / n)
    return best[1], best[2]


def _solve(x: Floats, y: Floats, weights: Floats, penalty: float) -> Floats:
    """Weighted ridge regression with a free mean."""
    share = weights / weights.sum()
    x = x - share @ x
    y = y - share @ y
    weighted = x * weights[:, None]
    return np.asarray(np.linalg.solve(weighted.T @ x + penalty * np.eye(x.shape[1]), weighted.T @ y))


def _centred(effects: Floats, factor: Factor) -> Floats:
    """Effects as deviations from their mean over the runs for which the parameter means something."""
    counts = factor.counts
    return np.asarray(effects - float(effects @ counts) / max(int(counts.sum()), 1))
