"""Random draws that are even over any block of trials: no value of a two-way parameter comes six times in a row.

Each parameter has, for each block of trials, a random order of equally wide strata; a trial takes the stratum at its
place, and a random point inside (Latin hypercube sampling; McKay, Beckman and Conover 1979). A value depends on the
base seed, the parameter's name and the trial's number alone, so any worker draws what any other would. Seen alone,
each draw is uniform.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

BLOCK = 12  # trials; the numbers 2, 3, 4 and 6 of choices divide it


class BalancedSampler(BaseSampler):
    """Draws each parameter on its own."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return value_at(param_distribution, balanced(self._seed, param_name, trial.number))


def balanced(seed: int, name: str, number: int) -> float:
    """A number in [0, 1); in each block of `BLOCK` trials one in each of as many strata."""
    word = zlib.crc32(name.encode())
    block, place = divmod(number, BLOCK)
    stratum = int(np.random.default_rng([seed, word, block]).permutation(BLOCK)[place])
    inside = float(np.random.default_rng([seed, word, block, place]).random())
    return (stratum + inside) / BLOCK


def value_at(distribution: BaseDistribution, share: float) -> Any:
    """The value below which `share` of the distribution lies. Raises `TypeError` for an unknown kind."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(share * len(distribution.choices))]
    if isinstance(distribution, FloatDistribution):
        return _float_at(distribution, share)
    if isinstance(distribution, IntDistribution):
        return _int_at(distribution, share)
    raise TypeError(f"{type(distribution).__name__} is no distribution that this sampler knows")


def _float_at(distribution: FloatDistribution, share: float) -> float:
    low, high = distribution.low, distribution.high
    if distribution.step is not None:
        steps = round((high - low) / distribution.step) + 1
        return min(low + int(share * steps) * distribution.step, high)
    if distribution.log:
        return min(max(math.exp(math.log(low) + share * (math.log(high) - math.log(low))), low), high)
    return low + share * (high - low)


def _int_at(distribution: IntDistribution, share: float) -> int:
    low, high = distribution.low, distribution.high
    if distribution.log:
        edges = math.log(low - 0.5), math.log(high + 0.5)
        return min(max(round(math.exp(edges[0] + share * (edges[1] - edges[0]))), low), high)
    return low + int(share * ((high - low) // distribution.step + 1)) * distribution.step
