"""Curves of runs with a known end, for tests of what judges them."""

from __future__ import annotations

import numpy as np
import optuna

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
