"""How good configurations really are, from noisy runs: a random-effects model, fitted by Bayes on a small grid.

The value of a run of configuration i under seed j is taken to be

    y_ij = m + f_k + c_i + s_j + b [the run is from the search] + e_ij,
    c_i ~ N(0, tau^2),  s_j ~ N(0, kappa^2 sigma^2),  e_ij ~ N(0, sigma^2).

c_i is the quantity to be estimated. f_k is how much easier than others the fold is that the run was scored on. s_j lets
configurations that share seeds be compared on common random numbers. b is selection bias (luck): a configuration was
chosen for the search's own run of it, so these runs are too high on average; replicates are not. With b free the
search's runs still show which configuration is better, but no longer how good they are.

Given the ratios lambda = tau/sigma and kappa, the estimates are Henderson's mixed-model equations (Henderson 1975;
Robinson 1991, "That BLUP is a good thing"): for one run each and no seeds, the shrunk mean
m + lambda^2 / (lambda^2 + 1/n_i) (mean_i - m). The ratios are weighed by their restricted likelihood (Searle, Casella
and McCulloch 1992, ch. 6) times half-Cauchy(1) priors (Gelman 2006), so that four configurations alone do not
fix tau; sigma^2 is integrated in closed form.

All runs are scored on the same few sequences, which suit some configurations better than others: what a configuration
scores there is c_i + d_i, and more seeds do not tell the two apart. With the covariance D of d from resampling the
sequences (`search.study.resampling`) c_i + d_i has covariance tau^2 I + D, and c_i is drawn given it: estimates and
probabilities are then about new sequences. D is in units of the scores, so sigma goes onto the grid as well. The prior
of tau is then flat in tau^2 near zero: one that is flat in tau makes intervals too narrow where D is as large as tau^2
(Morris and Lysy 2012, "Shrinkage estimation in multilevel normal models").
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BETWEEN = np.geomspace(0.02, 10.0, 36)  # lambda: spread between configurations in units of sigma
SHARED = np.geomspace(0.02, 4.0, 12)  # kappa: spread between seeds in units of sigma
COARSE = (BETWEEN[::2], SHARED[::2])  # the same where sigma is on the grid too
SIGMAS = np.geomspace(0.4, 3.0, 12)  # sigma in units of the estimate made without D
ENOUGH = 20  # runs of a search that say how configurations differ
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
    draws: Floats = field(repr=False)  # (D, K) of m + c_i from the posterior

    def difference(self, i: int, k: int) -> tuple[float, float]:
        """The 90 % interval of configuration i minus configuration k."""
        low, high = np.quantile(self.draws[:, i] - self.draws[:, k], [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
        return float(low), float(high)


def fit(
    values: Floats,
    configuration: NDArray[np.int64],
    seed: NDArray[np.int64],
    searched: NDArray[np.bool_],
    draws: int = DRAWS,
    sampling: Floats | None = None,
    population: Floats | None = None,
    fold: NDArray[np.int64] | None = None,
) -> Fit:
    """Fit the model to n runs: value, configuration index 0..K-1, seed index 0..S-1, whether it is from the search,
    and the fold that it was scored on, where there are several.

    `sampling` (K, K) is D, the covariance of the configurations' scores under resampling of the sequences; without it
    the estimates are about these sequences alone. What all configurations have in common in it does not count.
    `population` with it are the values of all the search's runs, of which these configurations were the best: those
    chosen for scoring high differ less on these sequences than configurations do, so tau is taken from all of them.
    Needs a configuration with at least two runs: noise and effect cannot be separated otherwise. Deterministic.
    """
    centre = float(values.mean())
    y = values - centre
    fixed, has_luck = _fixed_effects(configuration, searched, np.zeros(len(y), np.int64) if fold is None else fold)
    model = _Model(y, fixed, configuration, seed)
    weights, noise, between = model.weigh()
    if sampling is not None:
        model = _Model(y, fixed, configuration, seed, sampling, float(weights @ model.sigma))
        weights, noise, between = model.weigh(population)
    sampled, means = model.sample(weights, draws)
    luck = float(weights @ model.solutions[:, 1]) if has_luck else None
    tail = (1 - INTERVAL) / 2
    low, high = np.quantile(sampled, [tail, 1 - tail], axis=0)
    best = np.bincount(sampled.argmax(axis=1), minlength=model.configurations) / len(sampled)
    return Fit(means + centre, low + centre, high + centre, best, noise, between, luck, sampled + centre)


def _fixed_effects(
    configuration: NDArray[np.int64], searched: NDArray[np.bool_], fold: NDArray[np.int64]
) -> tuple[Floats, bool]:
    """Columns (n, p): the mean, the luck of the search's runs where it can be separated, and how much easier each fold
    is; and whether luck is among them. The mean is that over the folds that have replicates: where only the search's
    runs are on a fold, its luck and the fold's difficulty are one number, and neither counts in the mean."""
    ones = np.ones((len(searched), 1))
    folds = _fold_columns(fold, searched)
    if len(searched) <= folds.shape[1] + len(np.unique(configuration)):  # nothing would be left to see the noise by
        folds = folds[:, :0]
    lucky = np.concatenate([ones, searched[:, None].astype(float), folds], axis=1)
    both = np.intersect1d(configuration[searched], configuration[~searched])
    if len(both) == 0 or len(searched) < 3:  # two runs cannot separate luck from noise either
        return np.concatenate([ones, folds], axis=1), False
    if np.linalg.matrix_rank(lucky) < lucky.shape[1]:
        return np.concatenate([ones, folds], axis=1), False
    return lucky, True


def _fold_columns(fold: NDArray[np.int64], searched: NDArray[np.bool_]) -> Floats:
    """(n, folds - 1): an indicator of each fold without replicates; deviations from their mean for the others."""
    repeated = np.unique(fold[~searched]) if (~searched).any() else np.unique(fold)
    alone = [(fold == f).astype(float) for f in np.setdiff1d(fold, repeated)]
    last = (fold == repeated[-1]).astype(float)
    deviations = [(fold == f).astype(float) - last for f in repeated[:-1]]
    return np.stack([*alone, *deviations], axis=1) if alone or deviations else np.zeros((len(fold), 0))


class _Model:
    """The mixed-model equations of all grid cells at once: G cells, q unknowns (fixed, configurations, seeds).

    Configurations are rotated to the axes of D, in which what is to be known of one does not depend on the others.
    """

    def __init__(
        self,
        y: Floats,
        fixed: Floats,
        configuration: NDArray[np.int64],
        seed: NDArray[np.int64],
        sampling: Floats | None = None,
        sigma: float = 1.0,
    ) -> None:
        self.n, self.fixed = fixed.shape
        self.configurations = int(configuration.max()) + 1
        self.axes, self.spread = _axes(sampling, self.configurations)
        shared = _has_shared_seeds(configuration, seed)
        seeds = int(seed.max()) + 1 if shared else 0
        columns = [fixed, self.axes[configuration]]
        if shared:
            columns.append(np.eye(seeds)[seed])
        design = np.concatenate(columns, axis=1)  # (n, q)
        self.lambdas, self.kappas, known = _grid(shared, None if sampling is None else sigma)
        # Variance of c + d by axis, in sigma^2: lambda^2 and what resampling adds, (G, K)
        added = np.zeros(1) if known is None else known[:, None] ** -2
        self.variances = self.lambdas[:, None] ** 2 + added * self.spread
        precision = np.zeros((len(self.lambdas), design.shape[1]))  # (G, q) of the random effects, in 1/sigma^2
        precision[:, self.fixed : self.fixed + self.configurations] = 1 / self.variances
        if shared:
            precision[:, self.fixed + self.configurations :] = self.kappas[:, None] ** -2
        self.coefficients = design.T @ design + precision[:, :, None] * np.eye(design.shape[1])  # (G, q, q)
        right = design.T @ y
        self.solutions = np.linalg.solve(self.coefficients, np.broadcast_to(right, precision.shape)[..., None])[..., 0]
        # Residual sum of squares y'Py; rounding may leave it at zero where all runs are equal.
        self.residual = np.maximum(y @ y - self.solutions @ right, 1e-18)
        self.freedom = self.n - self.fixed
        self.known, self.sigma = known, np.sqrt(self.residual / self.freedom) if known is None else known
        # lambda's prior is on the scale of what one sees of a configuration: of sigma, and of D where it is known
        unit = (
            np.ones(1) if known is None else np.sqrt(1 + self.spread.sum() / max(1, self.configurations - 1) / known**2)
        )
        self.log_prior = _log_half_cauchy(self.lambdas / unit)
        if known is not None:
            self.log_prior = self.log_prior + np.log(self.lambdas / (1 + self.lambdas))
        self.log_determinant = np.log(self.variances).sum(1)
        if shared:
            self.log_prior = self.log_prior + _log_half_cauchy(self.kappas)
            self.log_determinant = self.log_determinant + 2 * seeds * np.log(self.kappas)

    def weigh(self, population: Floats | None = None) -> tuple[Floats, float, float]:
        """Posterior weights of the grid cells, and the standard deviations of a run and between configurations."""
        if self.known is None:
            fit = self.freedom * np.log(self.residual)
        else:
            fit = self.freedom * np.log(self.known**2) + self.residual / self.known**2
        logs = -0.5 * (self.log_determinant + np.linalg.slogdet(self.coefficients)[1] + fit)
        if population is not None and self.known is not None and len(population) >= ENOUGH:
            logs = self._within(logs) + self._of_population(population)
        logs = logs + self.log_prior
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        noise = float(weights @ (self.sigma * np.sqrt(1 + self.kappas**2)))
        return weights, noise, float(weights @ (self.sigma * self.lambdas))

    def _resampled(self) -> float:
        """Mean variance of d over the axes of D, of which one, what all have in common, does not count."""
        return float(self.spread.sum()) / max(1, self.configurations - 1)

    def _within(self, logs: Floats) -> Floats:
        """The part of the likelihood that does not depend on lambda: what the runs of one configuration differ by. It
        is the likelihood for the largest lambda, which explains all differences between configurations by itself."""
        assert self.known is not None
        free = logs + (self.configurations - 1) * np.log(self.known)
        by_lambda = free.reshape(len(np.unique(self.lambdas)), -1)
        return np.broadcast_to(by_lambda[-1], by_lambda.shape).ravel()

    def _of_population(self, values: Floats) -> Floats:
        """Log likelihood of the spread of the search's runs above their median; below it are recipes that fail."""
        assert self.known is not None
        above = values[values > np.median(values)] - np.median(values)
        seen = (self.lambdas**2 + 1 + self.kappas**2) * self.known**2
        seen = seen + self._resampled()
        return -0.5 * len(above) * (np.log(seen) + float(np.square(above).mean()) / seen)

    def sample(self, weights: Floats, draws: int) -> tuple[Floats, Floats]:
        """Draws (D, K) of m + c_i from the posterior, and its exact means (K,)."""
        random = np.random.default_rng(0)
        parts = []
        means = np.zeros(self.configurations)
        for cell, count in enumerate(random.multinomial(draws, weights)):
            pick = self._pick(cell)
            means += weights[cell] * (pick @ self.solutions[cell])
            if count:
                sigma = self.sigma[cell] * np.ones(count)
                if self.known is None:
                    sigma = np.sqrt(self.residual[cell] / random.chisquare(self.freedom, count))
                root = np.linalg.cholesky(self.coefficients[cell])
                noise = np.linalg.solve(root.T, random.standard_normal((root.shape[0], count)))  # (q, count)
                drawn = (pick @ self.solutions[cell]) + sigma[:, None] * (pick @ noise).T
                parts.append(drawn if self.known is None else drawn + self._given_both(cell, count, random))
        return np.concatenate(parts), means

    def _pick(self, cell: int) -> Floats:
        """(K, q): the expectation of m + c_i given the unknowns, of which c_i + d_i are some."""
        pick = np.zeros((self.configurations, self.solutions.shape[1]))
        pick[:, 0] = 1.0
        share = self.lambdas[cell] ** 2 / self.variances[cell]  # of c in c + d, by axis
        pick[:, self.fixed : self.fixed + self.configurations] = self.axes * share
        return pick

    def _given_both(self, cell: int, count: int, random: np.random.Generator) -> Floats:
        """Draws (count, K) of how far c is from its expectation given c + d."""
        tau = self.lambdas[cell] ** 2 * self.sigma[cell] ** 2
        spread = np.sqrt(tau * self.spread / (tau + self.spread))  # (K,) by axis
        return (random.standard_normal((count, self.configurations)) * spread) @ self.axes.T


def _axes(sampling: Floats | None, count: int) -> tuple[Floats, Floats]:
    """Axes (K, K) of D without what all configurations have in common, and the variance along each (K,)."""
    if sampling is None:
        return np.eye(count), np.zeros(count)
    centred = np.eye(count) - 1 / count
    values, axes = np.linalg.eigh(centred @ sampling @ centred)
    return axes, np.maximum(values, 0.0)


def _grid(shared: bool, sigma: float | None) -> tuple[Floats, Floats, Floats | None]:
    """lambda, kappa and where it is on the grid sigma, (G,) each."""
    if sigma is None:
        lambdas, kappas = np.meshgrid(BETWEEN, SHARED if shared else np.zeros(1), indexing="ij")
        return lambdas.ravel(), kappas.ravel(), None
    between, seeds = COARSE
    parts = np.meshgrid(between, seeds if shared else np.zeros(1), sigma * SIGMAS, indexing="ij")
    return parts[0].ravel(), parts[1].ravel(), parts[2].ravel()


def _has_shared_seeds(configuration: NDArray[np.int64], seed: NDArray[np.int64]) -> bool:
    pairs = np.unique(np.stack([seed, configuration]), axis=1)
    return bool(np.bincount(pairs[0]).max() > 1)


def _log_half_cauchy(ratio: Floats) -> Floats:
    """Log density of a half-Cauchy(1) per logarithmic grid step, up to a constant."""
    return np.log(ratio) - np.log1p(ratio**2)
