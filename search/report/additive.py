"""An additive model of the score over all searched parameters, with the uncertainty of each effect.

A search does not try its values evenly: good regions are visited more often, and parameters move together. Plain
averages over one parameter therefore mix its own effect with the effects of the parameters that moved with it.

The model: score = m + one effect a parameter + noise. The effects of a parameter's levels are draws from a normal
distribution whose variance is the parameter's own, estimated with the noise by maximising the evidence (MacKay 1992):
a parameter that does nothing is drawn towards zero, one that matters hardly at all. Intervals are those of the
posterior: they lie around the estimate and hold the truth about as often as they say (Nychka 1988).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.report.factors import Factor
from search.report.numbers import SEED, Floats

DRAWS = 400  # from the posterior, half of them the other half mirrored at the estimate
STEPS, SETTLED = 60, 1e-3  # most iterations, and the relative change of the penalties that ends them
WEAKEST = 1e-3  # least penalty, in runs


@dataclass(frozen=True)
class Additive:
    """The fitted model. `effects[f]` (levels,) are deviations from the mean over the runs in which parameter f means
    something; `samples[f]` (B, levels) are draws of them that lie symmetrically around `effects[f]`."""

    mean: float
    effects: list[Floats]
    samples: list[Floats]
    fitted: Floats  # (n,)
    explained: float  # share of the variance of runs that were left out, one at a time, that the model predicts


def fit(values: Floats, found: Sequence[Factor]) -> Additive:
    """Fit the additive model to the values (n,) of the runs the factors describe."""
    design, owners = _design(found)
    mean = float(values.mean())
    x, y = design - design.mean(axis=0), values - mean
    inverse, noise = _evidence(x, y, owners, _strongest(found))
    coefficients = inverse @ (x.T @ y)
    fitted = x @ coefficients
    deviations = _draws(noise * inverse)
    effects = [_centred(coefficients[owners == f], factor) for f, factor in enumerate(found)]
    samples = [
        effect + _centred(deviations[:, owners == f], factor)
        for f, (factor, effect) in enumerate(zip(found, effects, strict=True))
    ]
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x) + 1 / len(y)
    return Additive(mean, effects, samples, mean + fitted, _explained(y, fitted, leverage))


def _design(found: Sequence[Factor]) -> tuple[Floats, NDArray[np.int64]]:
    """Indicators (n, levels of all factors), and the factor each column belongs to."""
    columns = [(factor.index == level).astype(float) for factor in found for level in range(len(factor.labels))]
    owners = [f for f, factor in enumerate(found) for _ in factor.labels]
    return np.array(columns).T, np.array(owners)


def _strongest(found: Sequence[Factor]) -> Floats:
    """The largest penalty of each factor: it draws a level of average size halfway to zero.

    Without a limit a weak effect would be estimated at exactly zero, with an interval of no width.
    """
    return np.array([factor.counts.sum() / max(np.count_nonzero(factor.counts), 1) for factor in found])


def _evidence(x: Floats, y: Floats, owners: NDArray[np.int64], strongest: Floats) -> tuple[Floats, float]:
    """Inverse (p, p) of the penalised normal equations under the penalties of largest evidence, and the noise variance.

    A penalty is the noise variance over the variance of the factor's effects, by the fixed-point iteration of MacKay.
    """
    gram, moment = x.T @ x, x.T @ y
    levels = np.bincount(owners)
    penalties = np.minimum(np.ones(len(strongest)), strongest)
    for _ in range(STEPS):
        inverse = np.linalg.inv(gram + np.diag(penalties[owners]))
        coefficients = inverse @ moment
        known = levels - penalties * np.bincount(owners, weights=inverse.diagonal())  # effective parameters
        noise = float(np.square(y - x @ coefficients).sum()) / max(len(y) - 1 - float(known.sum()), 1.0)
        size = np.bincount(owners, weights=coefficients**2)
        before = penalties
        penalties = np.clip(noise * known / np.maximum(size, 1e-300), WEAKEST, strongest)
        if np.all(np.abs(penalties - before) <= SETTLED * before):
            break
    return inverse, noise


def _draws(covariance: Floats) -> Floats:
    """Draws (DRAWS, p) from a normal distribution around zero, each with its mirror image."""
    values, vectors = np.linalg.eigh(covariance)
    half = np.random.default_rng(SEED).standard_normal((DRAWS // 2, len(values)))
    drawn = half * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    return np.concatenate([drawn, -drawn])


def _explained(y: Floats, fitted: Floats, leverage: Floats) -> float:
    left_out = (y - fitted) / np.clip(1 - leverage, 1e-3, None)
    total = float(np.square(y * len(y) / max(len(y) - 1, 1)).sum())
    return max(1 - float(np.square(left_out).sum()) / total, 0.0) if total > 0 else 0.0


def _centred(effects: Floats, factor: Factor) -> Floats:
    """Effects (..., levels) as deviations from their mean over the runs for which the parameter means something."""
    counts = factor.counts
    return np.asarray(effects - (effects @ counts / max(int(counts.sum()), 1))[..., None])
