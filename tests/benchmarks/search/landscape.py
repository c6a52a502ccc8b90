"""Made-up training runs that look like the recorded ones: a configuration's curve, what it costs, how good it is.

The curve of a run is mean(e) + sum_k a_k P_k(e) + noise(e), where P_k are the principal components of the recorded
curves. A component's weight is a_k = w_k . x + f_k(x) + seed, with x the configuration as a vector, w_k drawn from the
posterior of a Bayesian ridge regression on the recorded runs, f_k a smooth random function (random Fourier features;
Rahimi and Recht 2007) and a seed's own deviation; f_k and the seed share what the regression leaves unexplained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.benchmarks.search.recorded import COLUMNS, Floats, Recorded, vector

COMPONENTS = 4
RIDGE = 8.0
SEED_SHARE = 0.15  # of the variance that the parameters leave unexplained: on real_lob .006^2 of about .016^2
SEEN = 0.7  # correlation, between configurations, of what selection sees with the truth
FEATURES = 200


@dataclass(frozen=True)
class Alike:
    """Correlations between the predictions of runs: two seeds of a configuration, neighbours, strangers."""

    seeds: float = 0.92
    near: float = 0.92
    far: float = 0.86


ATTENTION_COST = 3.0
DIVERGED = 2  # epochs that a diverging run lasts
CLIFF = 0.75  # scaled learning rate from which a run diverges, on average
LATE_SHARE = 2 / 3  # of the epochs have passed when the trap's best recipes rise above the others


@dataclass(frozen=True)
class TrainedRun:
    """A run as it would be if nobody stopped it. `select`, `truth`: (E,); a diverged run has `DIVERGED` epochs."""

    select: Floats  # what the study sees after each epoch
    truth: Floats  # correlation on sequences that nobody selects on
    quality: float  # expected truth of the configuration's best epoch, over seeds
    seconds: float  # of one epoch
    vector: Floats
    diverged: bool


@dataclass(frozen=True)
class _Smooth:
    """A random function of a configuration with about unit variance."""

    frequencies: Floats  # (D, FEATURES)
    phases: Floats
    weights: Floats  # (FEATURES, K)

    @staticmethod
    def draw(rng: np.random.Generator, outputs: int) -> _Smooth:
        # A distance of about 2.5, half that of two random configurations, brings the correlation down to .6
        frequencies = rng.normal(0.0, 0.4, (len(COLUMNS), FEATURES))
        weights = rng.normal(0.0, np.sqrt(2.0 / FEATURES), (FEATURES, outputs))
        return _Smooth(frequencies, rng.uniform(0, 2 * np.pi, FEATURES), weights)

    def __call__(self, x: Floats) -> Floats:
        return np.cos(x @ self.frequencies + self.phases) @ self.weights  # (K,)


class Fitted:
    """The recorded runs as a distribution over landscapes."""

    def __init__(self, recorded: Recorded) -> None:
        self.epochs = recorded.curves.shape[1]
        self.mean, self.components, weights, self.noise = _principal(recorded.curves)
        self.x_mean = recorded.vectors.mean(0)
        x = recorded.vectors - self.x_mean
        precision = x.T @ x + RIDGE * np.eye(x.shape[1])
        self.coefficients = np.linalg.solve(precision, x.T @ weights)  # (D, K)
        hat = np.einsum("nd,dn->n", x, np.linalg.solve(precision, x.T))
        left = (weights - x @ self.coefficients) / np.maximum(1 - hat, 0.2)[:, None]
        self.unexplained = np.median(np.abs(left), axis=0) / 0.6745  # robust: one diverging run is not a landscape
        self.spread = np.linalg.inv(np.linalg.cholesky(precision))  # (D, D): posterior draw is spread.T @ normal
        self.reach = 1.4 * np.percentile(
            np.abs(weights), 98, axis=0
        )  # no landscape leaves the recorded shapes far behind
        log_seconds = np.log(recorded.seconds)
        self.cost_mean = float(log_seconds.mean())
        self.cost = np.linalg.solve(precision, x.T @ (log_seconds - self.cost_mean))


class Landscape:
    """One draw: the same `seed` gives the same landscape to every arm."""

    def __init__(self, fitted: Fitted, seed: int, *, trap: bool = False, seen: float = SEEN) -> None:
        rng = np.random.default_rng([seed, 77])
        self.fitted, self.trap, self.seed, self.seen = fitted, trap, seed, seen
        k = len(fitted.components)
        unexplained = fitted.unexplained
        scale = unexplained * np.sqrt(1 - SEED_SHARE)
        draw = fitted.spread.T @ rng.normal(size=(fitted.spread.shape[0], k))
        self.linear = fitted.coefficients + draw * unexplained
        self.scale, self.seed_scale = scale, unexplained * np.sqrt(SEED_SHARE)
        self.smooth, self.hidden = _Smooth.draw(rng, k), _Smooth.draw(rng, 1)
        self.hidden_linear = rng.normal(size=len(COLUMNS))
        self.cliff = CLIFF + rng.normal(0.0, 0.1)
        self.niche = _niche(rng)
        self._measure(rng)

    def run(self, configuration: Mapping[str, Any], seed: int) -> TrainedRun:
        """Train one run. `configuration` holds active values; equal arguments give an equal run."""
        x = vector(configuration)
        select, truth = self._curves(x, configuration)
        quality = float(truth.max())
        rng = np.random.default_rng([self.seed, seed, 5])
        deviation = rng.normal(size=len(self.seed_scale)) * self.seed_scale @ self.fitted.components
        noise = rng.normal(size=select.shape) * self.fitted.noise
        seconds = float(np.exp(self.fitted.cost_mean + (x - self.fitted.x_mean) @ self.fitted.cost))
        if configuration["architecture"] == "gru_attention":
            seconds *= ATTENTION_COST
        diverged = self._diverges(x)
        stop = DIVERGED if diverged else len(select)
        # A seed's deviation is real; the noise of an epoch is half the epoch's and half the selection sequences'
        true_run = truth + deviation + 0.5 * noise
        return TrainedRun((select + deviation + noise)[:stop], true_run[:stop], quality, seconds, x, diverged)

    def _curves(self, x: Floats, configuration: Mapping[str, Any]) -> tuple[Floats, Floats]:
        """Expected selection and true scores by epoch, (E,) each."""
        weights = (x - self.fitted.x_mean) @ self.linear + self.smooth(x) * self.scale
        weights = self.fitted.reach * np.tanh(weights / self.fitted.reach)
        select = self.fitted.mean + weights @ self.fitted.components
        if self.trap and all(configuration.get(name) == value for name, value in self.niche.items()):
            select = select + self._late(len(select))
        own = float(self.hidden(x)[0]) + float((x - self.fitted.x_mean) @ self.hidden_linear) * self.hidden_scale
        true_part = self.seen**2 * (select - self.centre)
        return select, self.centre + true_part + self.seen * np.sqrt(1 - self.seen**2) * self.sd * own / self.own_sd

    def _late(self, epochs: int) -> Floats:
        """What the trap adds to its recipes: below the others at first, above them after two thirds of the epochs."""
        rise = 1.0 / (1.0 + np.exp(-(np.arange(1, epochs + 1) - LATE_SHARE * epochs) / (0.05 * epochs)))
        return self.sd * (2.8 * rise - 1.2)

    def _diverges(self, x: Floats) -> bool:
        lstm = x[COLUMNS.index("architecture=lstm")]
        return bool(x[COLUMNS.index("lr")] - 0.15 * lstm > self.cliff)

    def _measure(self, rng: np.random.Generator) -> None:
        """Centre and spread of the final selection scores over random configurations, for the truth's own part."""
        self.centre, self.sd, self.own_sd, self.hidden_scale = 0.0, 1.0, 1.0, 0.3
        xs = _random_vectors(rng, 200)
        linear = (xs - self.fitted.x_mean) @ self.linear
        weights = self.fitted.reach * np.tanh((linear + self.smooth(xs) * self.scale) / self.fitted.reach)
        best = (self.fitted.mean + weights @ self.fitted.components).max(axis=1)
        self.centre, self.sd = float(best.mean()), float(best.std())
        own = self.hidden(xs)[:, 0] + (xs - self.fitted.x_mean) @ self.hidden_linear * self.hidden_scale
        self.own_sd = float(own.std())


def correlations(vectors: Floats, keys: list[str], alike: Alike = Alike()) -> Floats:
    """Correlations (N, N) between the predictions of runs: falling with the distance of their configurations."""
    squared = ((vectors[:, None] - vectors[None]) ** 2).sum(-1)
    same = np.array(keys)[:, None] == np.array(keys)[None]
    between = alike.far + (alike.near - alike.far) * np.exp(-squared / 8.0)
    matrix = np.where(same, alike.seeds, between)
    np.fill_diagonal(matrix, 1.0)
    return matrix


def _principal(curves: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean (E,), components (K, E), weights (N, K) and the standard deviation of an epoch's noise (E,).

    Epochs that early stopping cut off are filled in by iterating the decomposition.
    """
    gaps = np.isnan(curves)
    filled = np.where(gaps, np.nanmax(curves, axis=1, keepdims=True), curves)
    for _ in range(30 if gaps.any() else 1):
        mean = filled.mean(0)
        u, s, v = np.linalg.svd(filled - mean, full_matrices=False)
        smooth = mean + (u[:, :COMPONENTS] * s[:COMPONENTS]) @ v[:COMPONENTS]
        filled = np.where(gaps, smooth, curves)
    left = np.where(gaps, np.nan, curves - smooth)
    noise = np.nanmedian(np.abs(left), axis=0) / 0.6745
    return mean, v[:COMPONENTS], u[:, :COMPONENTS] * s[:COMPONENTS], noise


def _niche(rng: np.random.Generator) -> dict[str, Any]:
    """Three two-way parameters that together select one eighth of the space."""
    ways = {"input_block": ("none", "projection"), "head": ("linear", "mlp"), "derived": (False, True)}
    ways |= {"lag": (False, True), "normalizer": ("none", "zscore"), "interaction": (False, True)}
    names = rng.permutation(sorted(ways))[:3]
    return {str(name): ways[str(name)][int(rng.integers(2))] for name in names}


def _random_vectors(rng: np.random.Generator, count: int) -> Floats:
    """Vectors (count, D) of about what random search draws; conditional numbers are always given."""
    from tests.benchmarks.search.recorded import NUMBERS, WORDS

    numbers = rng.uniform(-1, 1, (count, len(NUMBERS) + 1))
    words = [np.eye(len(values))[rng.integers(len(values), size=count)] for values in WORDS.values()]
    return np.concatenate([numbers, *words], axis=1)
