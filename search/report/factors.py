"""Searched parameters as factors with a few levels each: choices, whole numbers, or intervals of a range.

A level is named by what ran in it: the label of an interval holds the smallest and the largest value that a run had.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.report.numbers import Floats
from search.report.record import Trial
from search.studyfile.parameters import Choices, FloatRange, IntRange, Parameter, show

BINS = 5
FULL = 5  # runs that a level of a range should hold
FEW = 6  # values of a range with steps are levels of their own, up to so many
MOST_DIGITS = 6  # of a number in a label


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
    borders = _borders(parameter, inside)
    places = np.searchsorted(borders, inside, side="right")
    levels = [inside[places == i] for i in range(len(borders) + 1)] if len(inside) else []
    index = [
        -1
        if value is None
        else extra.index(value)
        if value in extra
        else len(extra) + int(np.searchsorted(borders, float(value), side="right"))
        for value in values
    ]
    centers = [None] * len(extra) + [float(np.median(level)) for level in levels]
    return _made(name, parameter, [*map(show, extra), *_labels(parameter, levels)], index, values, centers)


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


def _borders(parameter: IntRange | FloatRange, values: Floats) -> Floats:
    """Borders between the levels of a range: between any two values where they are few, else equal shares of runs."""
    distinct = np.unique(values)
    if not len(distinct):
        return distinct
    if parameter.step and len(distinct) <= FEW:
        return np.asarray((distinct[1:] + distinct[:-1]) / 2)
    bins = int(np.clip(len(values) // FULL, 1, BINS))
    # A border is a value that ran, and belongs to the level above it: no level is empty.
    borders = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1], method="higher"))
    return np.asarray(borders[(borders > distinct[0]) & (borders <= distinct[-1])], dtype=float)


def _labels(parameter: IntRange | FloatRange, levels: Sequence[Floats]) -> list[str]:
    """The smallest and the largest value that ran in each level, with as many digits as tell the levels apart."""
    ends = [(float(level.min()), float(level.max())) for level in levels]
    if isinstance(parameter, IntRange):
        return [_span(f"{low:.0f}", f"{high:.0f}") for low, high in ends]
    for digits in range(2, MOST_DIGITS):
        labels = [_span(f"{low:.{digits}g}", f"{high:.{digits}g}") for low, high in ends]
        if len(set(labels)) == len(labels):
            break
    return labels


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
