"""Estimates what a configuration is worth from the runs near it in the space, so that luck alone gets nobody repeated.

The best of many single runs are mostly the luckiest. Runs of similar configurations share what these are worth and not
their luck: a Gaussian process over the parameters (Rasmussen and Williams 2006, ch. 2) is fitted to all complete runs
of the search, and each run's score is drawn towards its prediction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from search.study.curve_model import Encoder

Floats = NDArray[np.float64]

ENOUGH = 20  # complete runs; fewer say too little about the space
LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernel, in units of the mean distance of two runs
RATIOS = np.geomspace(0.01, 100.0, 13)  # variance over the space, in units of that of a run around it
# Of what a run differs by from its prediction, the part that is its configuration's and not its seed's. Measured on
# networks of this kind the two have standard deviations of .0045 and .0055, and the space explains some of the first.
OWN = 0.3
SPREADS = 2.0  # a score further below the median than so many times the upper half's spread is counted as there


def smoothed_scores(trials: Sequence[FrozenTrial]) -> dict[int, float]:
    """What each complete trial's configuration is worth, by the trial's number; its own score where runs are few."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    scores = np.array([trial.value for trial in complete], dtype=np.float64)
    if len(complete) < ENOUGH:
        return dict(zip((trial.number for trial in complete), scores.tolist(), strict=True))
    encoder = Encoder()
    for trial in complete:
        encoder.learn(trial.distributions)
    points = np.array([encoder.encode(trial.params) for trial in complete])
    predicted = smooth(points, scores)
    estimates = predicted + OWN * (scores - predicted)
    return dict(zip((trial.number for trial in complete), estimates.tolist(), strict=True))


def smooth(points: Floats, scores: Floats) -> Floats:
    """Expected score (n,) at `points` (n, D), under a Gaussian process with a squared-exponential kernel.

    Length and noise are averaged over a grid, each pair weighing as much as its marginal likelihood with the scale
    integrated out. Scores far below the others, of recipes that fail, are raised to where they say "bad" and no more.
    """
    low, middle, high = np.quantile(scores, [0.0, 0.5, 0.9])
    clipped = np.maximum(scores, max(low, middle - SPREADS * (high - middle)))
    y = clipped - clipped.mean()
    distance = np.square(points[:, None] - points[None]).sum(-1)
    usual = distance.mean()
    if usual == 0 or not y.any():
        return np.full(len(y), clipped.mean())
    logs, means = [], []
    for length in LENGTHS:
        values, axes = np.linalg.eigh(np.exp(-distance / (2 * length**2 * usual)))
        rotated = axes.T @ y
        for ratio in RATIOS:
            gain = ratio * np.maximum(values, 0.0)
            logs.append(-0.5 * (np.log1p(gain).sum() + len(y) * np.log(np.square(rotated) @ (1 / (1 + gain)))))
            means.append(axes @ (gain / (1 + gain) * rotated))
    weights = np.exp(np.array(logs) - max(logs))
    found: Floats = clipped.mean() + weights @ np.array(means) / weights.sum()
    return found
