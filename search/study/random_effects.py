"""How good configurations really are, from noisy runs: a random-effects model, fitted by Bayes on a small grid.

The value of a run of configuration i under seed j is taken to be

    y_ij = m + c_i + s_j + b [the run is from the search] + e_ij,
    c_i ~ N(0, tau^2),  s_j ~ N(0, kappa^2 sigma^2),  e_ij ~ N(0, sigma^2).

c_i is what we are after. s_j lets configurations that share seeds be compared on common random numbers. b is luck:
the search's own run of a configuration is why it was chosen, so it is too high by the same selection that chose all
of them; replicates are not. With b free the search's runs still say which configuration is better, but no longer how
good they are.

Given the ratios lambda = tau/sigma and kappa, the estimates are Henderson's mixed-model equations (Henderson 1975;
Robinson 1991, "That BLUP is a good thing"): for one run each and no seeds, the shrunk mean
m + lambda^2 / (lambda^2 + 1/n_i) (mean_i - m). The ratios are weighed by their restricted likelihood (Searle, Casella
and McCulloch 1992, ch. 6) times half-Cauchy(1) priors (Gelman 2006), so that four configurations do not pretend to
know tau; sigma^2 is integrated in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BETWEEN = np.geomspace(0.02, 10.0, 36)  # lambda: spread between configurations in units of sigma
SHARED = np.geomspace(0.02, 4.0, 12)  # kappa: spread between seeds in units of sigma
DRAWS = 20_000
INTERVAL = 0.90


@dataclass(frozen=True)
class Fit:
    """Posterior of K configurations. Values are in the units of the runs."""

    estimate: Floats  # (K,) posterior means of m + c_i
    low: Floats  # (K,) of the 90 % interval
    high: Floats
    best: Floats  # (K,) probability of being the best of the K
    noise: float  # standard deviation of one run of one configuration, seeds included
    between: float  # standard deviation between configurations
    luck: float | None  # b: by how much the search's runs of these configurations are too high


def fit(
    values: Floats,
    configuration: NDArray[np.int64],
    seed: NDArray[np.int64],
    searched: NDArray[np.bool_],
    draws: int = DRAWS,
) -> Fit:
    """Fit the model to n runs: value, configuration index 0..K-1, seed index 0..S-1, whether it is from the search.

    Needs a configuration with at least two runs: noise and effect cannot be separated otherwise. Deterministic.
    """
    centre = float(values.mean())
    y = values - centre
    fixed = _fixed_effects(configuration, searched)
    model = _Model(y, fixed, configuration, seed)
    weights, noise, between = model.weigh()
    sampled, means = model.sample(weights, draws)
    luck = float(weights @ model.solutions[:, 1]) if fixed.shape[1] > 1 else None
    tail = (1 - INTERVAL) / 2
    low, high = np.quantile(sampled, [tail, 1 - tail], axis=0)
    best = np.bincount(sampled.argmax(axis=1), minlength=model.configurations) / len(sampled)
    return Fit(means + centre, low + centre, high + centre, best, noise, between, luck)


def _fixed_effects(configuration: NDArray[np.int64], searched: NDArray[np.bool_]) -> Floats:
    """Columns (n, 1 or 2): the mean, and the luck of the search's runs where both kinds can be separated."""
    ones = np.ones(len(searched))
    both = np.intersect1d(configuration[searched], configuration[~searched])
    if len(both) == 0 or len(searched) < 3:  # two runs tell luck from noise as little as one does
        return ones[:, None]
    return np.stack([ones, searched.astype(float)], axis=1)


class _Model:
    """The mixed-model equations of all grid cells at once: G cells, q unknowns (fixed, configurations, seeds)."""

    def __init__(self, y: Floats, fixed: Floats, configuration: NDArray[np.int64], seed: NDArray[np.int64]) -> None:
        self.n, self.fixed = fixed.shape
        self.configurations = int(configuration.max()) + 1
        shared = _has_shared_seeds(configuration, seed)
        seeds = int(seed.max()) + 1 if shared else 0
        columns = [fixed, np.eye(self.configurations)[configuration]]
        if shared:
            columns.append(np.eye(seeds)[seed])
        design = np.concatenate(columns, axis=1)  # (n, q)
        kappa = SHARED if shared else np.zeros(1)
        self.lambdas, self.kappas = (axis.ravel() for axis in np.meshgrid(BETWEEN, kappa, indexing="ij"))
        precision = np.zeros((len(self.lambdas), design.shape[1]))  # (G, q) of the random effects, in 1/sigma^2
        precision[:, self.fixed : self.fixed + self.configurations] = self.lambdas[:, None] ** -2
        if shared:
            precision[:, self.fixed + self.configurations :] = self.kappas[:, None] ** -2
        self.coefficients = design.T @ design + precision[:, :, None] * np.eye(design.shape[1])  # (G, q, q)
        right = design.T @ y
        self.solutions = np.linalg.solve(self.coefficients, np.broadcast_to(right, precision.shape)[..., None])[..., 0]
        # Residual sum of squares y'Py; rounding may leave it at zero where all runs are equal.
        self.residual = np.maximum(y @ y - self.solutions @ right, 1e-18)
        self.log_prior = _log_half_cauchy(self.lambdas)
        self.log_determinant = 2 * self.configurations * np.log(self.lambdas)
        if shared:
            self.log_prior = self.log_prior + _log_half_cauchy(self.kappas)
            self.log_determinant = self.log_determinant + 2 * seeds * np.log(self.kappas)

    def weigh(self) -> tuple[Floats, float, float]:
        """Posterior weights of the grid cells, and the standard deviations of a run and between configurations."""
        freedom = self.n - self.fixed
        logs = self.log_prior - 0.5 * (
            self.log_determinant + np.linalg.slogdet(self.coefficients)[1] + freedom * np.log(self.residual)
        )
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        sigma = np.sqrt(self.residual / freedom)
        noise = float(weights @ (sigma * np.sqrt(1 + self.kappas**2)))
        return weights, noise, float(weights @ (sigma * self.lambdas))

    def sample(self, weights: Floats, draws: int) -> tuple[Floats, Floats]:
        """Draws (D, K) of m + c_i from the posterior, and its exact means (K,)."""
        random = np.random.default_rng(0)
        pick = np.zeros((self.configurations, self.solutions.shape[1]))  # (K, q): m + c_i of the unknowns
        pick[:, 0] = 1.0
        pick[:, self.fixed : self.fixed + self.configurations] = np.eye(self.configurations)
        parts = []
        for cell, count in enumerate(random.multinomial(draws, weights)):
            if count:
                sigma = np.sqrt(self.residual[cell] / random.chisquare(self.n - self.fixed, count))
                root = np.linalg.cholesky(self.coefficients[cell])
                noise = np.linalg.solve(root.T, random.standard_normal((root.shape[0], count)))  # (q, count)
                parts.append((pick @ self.solutions[cell]) + sigma[:, None] * (pick @ noise).T)
        return np.concatenate(parts), weights @ (self.solutions @ pick.T)


def _has_shared_seeds(configuration: NDArray[np.int64], seed: NDArray[np.int64]) -> bool:
    pairs = np.unique(np.stack([seed, configuration]), axis=1)
    return bool(np.bincount(pairs[0]).max() > 1)


def _log_half_cauchy(ratio: Floats) -> Floats:
    """Log density of a half-Cauchy(1) per logarithmic grid step, up to a constant."""
    return np.log(ratio) - np.log1p(ratio**2)
