"""Balanced draws are uniform each, and even over a block of trials."""

from __future__ import annotations

from collections import Counter

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.study.balanced import BLOCK, BalancedSampler, balanced, value_at


@pytest.mark.parametrize("ways", [2, 3, 4, 6])
def test_each_choice_comes_equally_often_in_a_block(ways: int) -> None:
    """No way of a first parameter is drawn six times in a row, whatever the seed."""
    choices = CategoricalDistribution(list(range(ways)))
    for seed in range(20):
        study = optuna.create_study(sampler=BalancedSampler(seed))
        drawn = [study.ask({"p": choices}).params["p"] for _ in range(BLOCK)]
        assert set(Counter(drawn).values()) == {BLOCK // ways}


def test_draws_are_uniform_and_parameters_independent() -> None:
    """Over many trials every tenth holds a tenth, and two parameters do not move together."""
    one = np.array([balanced(0, "lr", n) for n in range(1200)])
    two = np.array([balanced(0, "dropout", n) for n in range(1200)])
    assert np.histogram(one, 10, (0, 1))[0] == pytest.approx(120, abs=25)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.1


@pytest.mark.parametrize(
    "distribution",
    [
        FloatDistribution(0.1, 0.9),
        FloatDistribution(1e-5, 1e-2, log=True),
        FloatDistribution(0.0, 0.3, step=0.05),
        IntDistribution(32, 160, step=16),
        IntDistribution(1, 100, log=True),
        CategoricalDistribution(["a", None, 3]),
    ],
)
def test_every_kind_of_parameter_is_drawn_within_its_bounds(
    distribution: optuna.distributions.BaseDistribution,
) -> None:
    """Values belong to the distribution at both ends and between, and both ends can be reached."""
    values = [value_at(distribution, share) for share in np.linspace(0, 1 - 1e-12, 200)]
    assert all(distribution._contains(distribution.to_internal_repr(value)) for value in values)
    if isinstance(distribution, IntDistribution):
        assert values[0] == distribution.low and values[-1] == distribution.high
