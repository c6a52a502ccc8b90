"""The curve pruner ends runs that promise little, from honest forecasts, and quickly with many trials."""

from __future__ import annotations

import time

import numpy as np
import optuna
import pytest

from search.study.curve_pruner import EXEMPT_SHARE, CurvePruner, looks
from tests.search.study.made_curves import EPOCHS, curve, finished


def test_runs_are_judged_at_growing_distances() -> None:
    """Within the warm-up and after the last epoch nothing is judged."""
    assert looks(24, 2) == (3, 4, 5, 7, 9, 13, 17, 22)
    assert looks(3, 2) == ()


def pruner() -> CurvePruner:
    return CurvePruner(planned=EPOCHS, warmup=2, startup=8, seed=0, by_seconds=False)


def test_a_hopeless_run_is_ended_and_a_good_one_is_not() -> None:
    """The rule tells .2 from .6 among runs of .4 and .5, and a second object says the same."""
    rng = np.random.default_rng(3)
    study = optuna.create_study(direction="maximize")
    study.add_trials(finished(60, rng))
    for quality, expected in ((0.2, True), (0.62, False)):
        trial = finished(1, rng)[0]
        trial.number = next(n for n in range(60, 90) if not pruner().exempt(numbered(trial, n)))
        trial.intermediate_values = dict(enumerate(map(float, curve(quality, rng)[:5])))
        assert pruner().prune(study, trial) is expected
        assert pruner().prune(study, trial) is expected


def numbered(trial: optuna.trial.FrozenTrial, number: int) -> optuna.trial.FrozenTrial:
    trial.number = number
    return trial


def test_baselines_and_a_random_tenth_are_exempt() -> None:
    """By the trial's number alone, so that every worker spares the same runs."""
    trial = finished(1, np.random.default_rng(0))[0]
    share = np.mean([pruner().exempt(numbered(trial, n)) for n in range(2000)])
    assert share == pytest.approx(EXEMPT_SHARE, abs=0.02)
    trial.user_attrs["baseline"] = 1
    assert all(pruner().exempt(numbered(trial, n)) for n in range(50))


@pytest.mark.bench
def test_cost_with_two_thousand_trials() -> None:
    """Prints the milliseconds of a first and of a further verdict."""
    rng = np.random.default_rng(4)
    study = optuna.create_study(direction="maximize")
    study.add_trials(finished(2000, rng, stop=5))
    judge, trial = pruner(), finished(1, rng)[0]
    trial.number = next(n for n in range(2000, 2100) if not judge.exempt(numbered(trial, n)))
    trial.intermediate_values = dict(enumerate(map(float, curve(0.4, rng)[:5])))
    for _ in range(3):
        begin = time.perf_counter()
        judge.prune(study, trial)
        print(f"{1e3 * (time.perf_counter() - begin):.1f} ms")
