"""The curve pruner ends runs that promise little, from honest forecasts, and quickly with many trials."""

from __future__ import annotations

import time

import numpy as np
import optuna
import pytest

from search.study.curve_pruner import EXEMPT_SHARE, CurvePruner, _readable, build_curve_pruner, looks
from search.study.record import DIVERGED
from search.study.writers import write_failure
from search.studyfile.spec import StudySpec
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


def test_dear_epochs_must_promise_more_where_seconds_count() -> None:
    """A run that is just worth its epochs at the usual price is ended at three times that; a better one earns it. A
    budget of trials does not ask, and the study file's budget decides which is meant."""
    study = optuna.create_study(direction="maximize")
    for trial in finished(60, np.random.default_rng(3)):
        trial.user_attrs.update(seconds=1.0 * EPOCHS, device="t4")
        study.add_trial(trial)

    def ended(quality: float, price: float, **budget: float) -> bool:
        terms = {"pruner": {"name": "curve", "warmup_epochs": 2, "startup_trials": 8}, "budget": budget}
        spec = StudySpec.from_json({"name": "s", "parameters": {"epochs": EPOCHS, "dropout": 0.1}, **terms})
        judge, trial = build_curve_pruner(spec), finished(1, np.random.default_rng(1))[0]
        trial.number = next(n for n in range(60, 90) if not judge.exempt(numbered(trial, n)))
        trial.params["loss"] = "huber"
        trial.intermediate_values = dict(enumerate(map(float, curve(quality, np.random.default_rng(5))[:5])))
        trial.user_attrs = {"seconds": price * 5, "device": "t4"}
        return judge.prune(study, trial)

    assert (ended(0.515, 1.0, hours=1.0), ended(0.515, 3.0, hours=1.0)) == (False, True)
    assert not ended(0.53, 3.0, hours=1.0)
    assert not ended(0.515, 3.0, trials=100)


def test_a_run_that_diverged_is_no_curve() -> None:
    """Its last report tells the sampler to avoid it; the forecasts do not learn from that."""
    (trial,) = finished(1, np.random.default_rng(0))
    assert _readable(trial)
    trial.state, trial.values = optuna.trial.TrialState.PRUNED, None
    trial.user_attrs.update(write_failure(DIVERGED, "diverged", 3).user_attrs)
    assert not _readable(trial)


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
