"""The curve pruner ends runs that promise little, from honest forecasts, and quickly with many trials."""

from __future__ import annotations

import time

import numpy as np
import optuna
import pytest

from search.study.curve_model import CurveModel, Encoder, Forecast, Ledger
from search.study.curve_pruner import EXEMPT_SHARE, CurvePruner, looks

RANGE = optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)
LOSS = optuna.distributions.CategoricalDistribution(["mse", "huber"])
EPOCHS = 20


def curve(quality: float, rng: np.random.Generator) -> np.ndarray:
    """A rising curve that ends near `quality`."""
    return quality * (1 - np.exp(-np.arange(1, EPOCHS + 1) / 4)) + rng.normal(0, 0.004, EPOCHS)


def finished(
    count: int, rng: np.random.Generator, stop: int | None = None, late: float = 0.0
) -> list[optuna.trial.FrozenTrial]:
    """Trials whose quality depends on the loss; with `stop`, the worse half is pruned after so many epochs.

    `late` is the standard deviation of a rise or fall after 7 epochs that nothing foretells.
    """
    trials = []
    for number in range(count):
        loss = ["mse", "huber"][number % 2]
        values = curve(0.4 + 0.1 * (loss == "huber") + rng.normal(0, 0.03), rng)
        values += rng.normal(0, late) / (1 + np.exp(7 - np.arange(EPOCHS)))
        pruned = stop is not None and values[stop - 1] < 0.41
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE,
            value=float(values.max()),
            params={"lr": 10 ** rng.uniform(-4, -2), "loss": loss},
            distributions={"lr": RANGE, "loss": LOSS},
            user_attrs={"seconds": 10.0},
            intermediate_values=dict(enumerate(map(float, values[: stop if pruned else EPOCHS]))),
        )
        trial.number = number
        trials.append(trial)
    return trials


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
