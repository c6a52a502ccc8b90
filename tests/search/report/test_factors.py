"""Levels are those that ran: whole numbers with steps, intervals of linear and logarithmic ranges, values beside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from search.report.factors import Factor, at_position, factors, position
from search.report.record import Study
from search.studyfile.parameters import Choices, FloatRange, IntRange, Parameter


def factor_of(known: Study, parameter: Parameter, values: list[Any]) -> Factor:
    """The factor of a parameter that took these values, one a run."""
    trials = [replace(known.finished[0], configuration={"p": v} if v is not None else {}) for v in values]
    (found,) = factors({"p": parameter}, trials)
    return found


def test_steps_are_levels_of_their_own(known: Study) -> None:
    """A whole-number range in steps of 8 has the levels 8, 16 and 24: those that ran, and no other."""
    found = factor_of(known, IntRange(int=(8, 24), step=8), [8, 24, 16, 16, 8, 24, 24])
    assert found.labels == ("8", "16", "24")
    assert found.counts.tolist() == [2, 2, 3] and found.centers == (8.0, 16.0, 24.0)
    assert [found.labels[i] for i in found.index] == ["8", "24", "16", "16", "8", "24", "24"]


def test_real_steps_are_levels_of_their_own(known: Study) -> None:
    """A real range with steps as well."""
    found = factor_of(known, FloatRange(float=(0.0, 0.3), step=0.1), [0.0, 0.1, 0.30000000000000004, 0.1])
    assert found.labels == ("0", "0.1", "0.3")


@pytest.mark.parametrize(
    "parameter",
    [
        IntRange(int=(32, 160), step=16),
        IntRange(int=(1, 500)),
        FloatRange(float=(0.0, 0.4)),
        FloatRange(float=(2e-4, 3e-3), log=True),
        FloatRange(**{"float": (1e-6, 3e-4), "log": True, "or": 0.0}),  # type: ignore[arg-type]
    ],
)
def test_a_label_holds_the_values_of_its_runs(known: Study, parameter: Parameter) -> None:
    """Every run's value lies between the ends in the label of its level, rounded as the label is; both ends ran; no
    level is empty, and no two have the same name."""
    assert isinstance(parameter, (IntRange, FloatRange))
    rng = np.random.default_rng(1)
    low, high = parameter.bounds
    values: list[Any] = []
    for place in rng.random(60) ** 2:
        value = at_position(parameter, float(place))
        if isinstance(parameter, IntRange):
            value = low + parameter.step * round((value - low) / parameter.step)
        values.append(0.0 if parameter.extra and place < 0.1 else min(max(value, low), high))
    found = factor_of(known, parameter, values)
    assert found.counts.sum() == 60 and (found.counts > 0).all() and len(set(found.labels)) == len(found.labels)
    for level, label in enumerate(found.labels):
        own = [v for v, i in zip(values, found.index, strict=True) if i == level]
        ends = [float(part) for part in label.split(" to ")]
        assert ends[0] == pytest.approx(min(own), rel=0.06) and ends[-1] == pytest.approx(max(own), rel=0.06)
        assert found.centers[level] is None or min(own) <= (found.centers[level] or 0.0) <= max(own)


def test_equal_values_share_a_level(known: Study) -> None:
    """A value that most runs have is not split between two levels, and leaves none empty."""
    found = factor_of(known, FloatRange(float=(0.0, 1.0)), [0.1] * 20 + [0.5] * 20 + [0.9] * 2)
    assert (found.counts > 0).all()
    for value in (0.1, 0.5, 0.9):
        assert len({int(i) for v, i in zip(found.values, found.index, strict=True) if v == value}) == 1


def test_runs_without_the_parameter_have_no_level(known: Study) -> None:
    """Where it means nothing the index is -1; a choice of an older revision keeps its own level."""
    found = factor_of(known, Choices(choices=("a", "b")), ["a", None, "b", "old"])
    assert found.labels == ("a", "b", "old") and found.index.tolist() == [0, -1, 1, 2]


def test_positions() -> None:
    """0 and 1 are the ends of a range, the middle of a logarithmic one is the geometric mean; and back."""
    log = FloatRange(float=(1e-4, 1e-2), log=True)
    assert position(log, 1e-3) == pytest.approx(0.5) and at_position(log, 0.5) == pytest.approx(1e-3)
    assert position(IntRange(int=(8, 24), step=8), 16) == 0.5
