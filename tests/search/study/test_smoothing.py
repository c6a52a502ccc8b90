"""Smoothing over the space finds better configurations than the luckiest runs are, where the space says anything."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from search.study.smoothing import ENOUGH, OWN, smooth, smoothed_scores

SEED, BETWEEN = 0.0055, 0.0045  # standard deviations of a run under its seed, and between configurations


def simulated(seed: int, count: int, share: float) -> tuple[float, float]:
    """True value of the five configurations with the best raw scores, and of those with the best smoothed ones.

    `share` of the variance between configurations is a function of ten ranges and four choices, with interactions.
    """
    random = np.random.default_rng(seed)
    choices = [np.eye(3)[random.integers(0, 3, count)] for _ in range(4)]
    points = np.concatenate([random.uniform(-1, 1, (count, 10)), *choices], axis=1)
    width = points.shape[1]
    slopes, bends = (random.normal(size=width) * random.exponential(size=width) for _ in range(2))
    i, j = random.integers(0, width, (2, 6))
    surface = points @ slopes - points**2 @ np.abs(bends) + points[:, i] * points[:, j] @ random.normal(size=6)
    surface = (surface - surface.mean()) / surface.std()
    truth = BETWEEN * (np.sqrt(share) * surface + np.sqrt(1 - share) * random.normal(size=count))
    scores = truth + SEED * random.normal(size=count)
    predicted = smooth(points, scores)
    best = (np.argsort(-part)[:5] for part in (scores, predicted + OWN * (scores - predicted)))
    raw, smoothed = (float(truth[part].mean()) for part in best)
    return raw, smoothed


@pytest.mark.parametrize(("count", "share", "gain"), [(100, 0.6, 0.0001), (150, 0.9, 0.0005), (24, 0.3, -0.0002)])
def test_it_chooses_better_configurations(count: int, share: float, gain: float) -> None:
    """At the noise of this task: clearly better with a hundred runs, no worse where the space says little."""
    found = np.array([simulated(seed, count, share) for seed in range(30)])
    assert (found[:, 1] - found[:, 0]).mean() > gain


def made(values: list[float]) -> list[optuna.trial.FrozenTrial]:
    """Complete trials whose score rises with `x`, but for what `values` add; one was pruned."""
    space = {"x": FloatDistribution(0, 1), "kind": CategoricalDistribution(["a", "b"])}
    trials = []
    for number, value in enumerate(values):
        x = number / len(values)
        trial = create_trial(params={"x": x, "kind": "ab"[number % 2]}, distributions=space, value=x + value)
        trial.number = number
        trials.append(trial)
    trials.append(create_trial(state=TrialState.PRUNED, params={}, distributions={}, value=9.0))
    return trials


def test_a_lucky_run_is_drawn_to_its_neighbours() -> None:
    """It keeps a part of its lead; few runs are left as they are; only complete ones count."""
    lucky = made([0.0] * 20 + [0.5] + [0.0] * 19)
    found = smoothed_scores(lucky)
    assert set(found) == set(range(40)) and 0.5 < found[20] < 1.0 - 0.2
    assert found[39] > found[1]
    few = made([0.1] * (ENOUGH - 1))
    assert smoothed_scores(few) == {trial.number: trial.value for trial in few[:-1]}


def test_failing_recipes_and_constant_scores_do_not_bend_it() -> None:
    """Scores near 0 say "bad", not how much; equal scores or points give a constant."""
    values = [0.0] * 38 + [-40.0] * 2
    assert smoothed_scores(made(values))[37] > smoothed_scores(made(values))[10]
    random = np.random.default_rng(0)
    assert smooth(random.normal(size=(30, 3)), np.full(30, 0.2)) == pytest.approx(0.2)
    assert smooth(np.zeros((30, 3)), random.normal(size=30)).std() == pytest.approx(0)
