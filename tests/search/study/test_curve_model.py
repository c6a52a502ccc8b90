"""Forecasts from the first epochs of a curve are near its end, and know how near."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from search.study.curve_model import CurveModel, Encoder, Forecast, Ledger
from tests.search.study.made_curves import EPOCHS, LOSS, RANGE, finished


def test_parameters_become_numbers() -> None:
    """A logarithmic range goes to [-1, 1], a choice to one column, and what is not asked to 0."""
    encoder = Encoder()
    encoder.learn({"lr": RANGE, "loss": LOSS})
    assert encoder.encode({"lr": 1e-3, "loss": "huber"}) == pytest.approx([0.0, 0.0, 1.0])
    assert encoder.encode({"lr": 1e-4}) == pytest.approx([-1.0, 0.0, 0.0])


def test_a_forecast_is_near_the_end_of_the_curve() -> None:
    """After 6 epochs most of the final scores of new runs lie within two standard deviations of the forecast."""
    rng = np.random.default_rng(1)
    model = CurveModel(Ledger(finished(60, rng), EPOCHS), (6, 12), least=8)
    hits = 0
    for trial in finished(40, rng):
        forecast = model.forecast(trial, 6)
        assert forecast is not None
        hits += abs(max(trial.intermediate_values.values()) - forecast.mean) < 2 * forecast.sd
    assert hits >= 35


def test_pruned_runs_keep_forecasts_honest() -> None:
    """Where all that rise slowly were pruned at 10 epochs, forecasts at 4 do not rise with the survivors alone."""
    rng = np.random.default_rng(2)
    trials = finished(160, rng, stop=10, late=0.05)
    assert 40 < sum(t.state == optuna.trial.TrialState.PRUNED for t in trials) < 120
    survivors = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    everyone = CurveModel(Ledger(trials, EPOCHS), (4, 10), least=8)
    alone = CurveModel(Ledger(survivors, EPOCHS), (4, 10), least=8)
    new = finished(80, rng, late=0.05)

    def bias(model: CurveModel) -> float:
        errors = [model.forecast(t, 4).mean - max(t.intermediate_values.values()) for t in new]  # type: ignore[union-attr]
        return float(np.mean(errors))

    assert abs(bias(everyone)) < abs(bias(alone))


def test_expected_excess_of_a_normal_forecast() -> None:
    """At the mean it is sd / sqrt(2 pi); far below and above it is nothing and the distance."""
    assert Forecast(0.5, 0.1).excess(0.5) == pytest.approx(0.1 / np.sqrt(2 * np.pi))
    assert Forecast(0.5, 0.01).excess(0.7) == pytest.approx(0.0, abs=1e-9)
    assert Forecast(0.5, 0.01).excess(0.3) == pytest.approx(0.2)
