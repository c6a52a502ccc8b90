"""What each run is expected to score on new data, from its own score and those of its configuration's other runs.

`search.study.random_effects` says how good configurations are. An ensemble is made of runs, and a run differs from the
others of its configuration: partly because its seed found better weights, which lasts on new data, partly because the
selection sequences happen to suit it, which does not. Run r of configuration i, scored on fold k, has

    y_r = f_k + c_i + u_r + d_ik + e_r,
    c ~ N(0, tau^2),  u ~ N(0, omega^2),  d ~ N(0, D),  e ~ N(0, E),

and is worth c_i + u_r. D, how a fold's sequences suit a configuration, and E, how they suit the run alone, follow from
resampling the sequences (`search.study.resampling`). f is a fixed effect. The worth is the best linear unbiased
prediction (Henderson 1975) given tau and omega, averaged over a grid on which each pair weighs as much as its
restricted likelihood (Searle, Casella and McCulloch 1992, ch. 6) times half-Cauchy(1) priors (Gelman 2006). All runs of
the search are used, so that choosing the best of them for replicates needs no correction: the choice depended on y
alone.

Where no run keeps what resampling needs, all that a run differs by from its configuration counts as chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from search.study.replication import find_replicates, pool
from search.study.resampling import resampled_scores, stored_sums
from search.study.runs import Run

if TYPE_CHECKING:
    import optuna

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

GRID = np.geomspace(0.03, 3.0, 14)  # of tau and of omega (or E), in units of the runs' standard deviation
SAMPLE = 48  # runs from whose sums the sampling noise is estimated
OUTLIER = 4.0  # runs further below the median, in robust standard deviations, say nothing about the good ones


@dataclass(frozen=True)
class SamplingNoise:
    """Variances of a run's score when the sequences that select are drawn again, without what all runs share."""

    configuration: float  # D: shared by the runs of a configuration on one fold
    run: float  # E: its own


def sampling_noise(resampled: Floats, configuration: Indices, fold: Indices) -> SamplingNoise | None:
    """From the scores (B, R) of runs on resampled sequences; None where no fold has two runs.

    Where no configuration has two runs on a fold, the two parts cannot be told apart and need not be: all is E.
    """
    whole = within = 0.0
    runs = freedom = 0
    for k in np.unique(fold):
        on = fold == k
        if on.sum() < 2:
            continue
        scores = resampled[:, on] - resampled[:, on].mean(0)
        scores = scores - scores.mean(1, keepdims=True)
        whole += float(scores.var(0).sum()) * on.sum() / (on.sum() - 1)
        runs += int(on.sum())
        for i in np.unique(configuration[on]):
            own = scores[:, configuration[on] == i]
            within += float((own - own.mean(1, keepdims=True)).var(0).sum())
            freedom += own.shape[1] - 1
    if not runs:
        return None
    total = whole / runs
    own_part = min(total, within / freedom) if freedom else total
    return SamplingNoise(total - own_part, own_part)


def expected_worth(value: Floats, configuration: Indices, fold: Indices, noise: SamplingNoise | None) -> Floats:
    """Expected score (R,) on new data of R runs, from their values (R,), configurations and folds; deterministic.

    Runs far below the others get their configuration's worth from the model too, but do not shape it.
    """
    centre = float(np.median(value))
    spread = float(np.median(np.abs(value - centre))) * 1.4826
    used = value >= centre - OUTLIER * spread if spread > 0 else np.ones(len(value), bool)
    scale = float(value[used].std()) if used.any() else 0.0
    if scale == 0.0:  # equal runs
        return np.full(len(value), centre)
    small = None if noise is None else SamplingNoise(noise.configuration / scale**2, noise.run / scale**2)
    between, own = (part.ravel() for part in np.meshgrid(GRID, GRID))
    model = _Model((value - centre) / scale, configuration, fold, used, small)
    logs, worth = model.solve(between**2, own**2)
    for ratio in (between, own):
        logs = logs + np.log(ratio) - np.log1p(ratio**2)
    weights = np.exp(logs - logs.max())
    return centre + scale * np.asarray(weights @ worth / weights.sum(), dtype=np.float64)


class _Model:
    """The runs by configuration: those with one run all at once, as most have, the others one by one."""

    def __init__(
        self, y: Floats, configuration: Indices, fold: Indices, used: NDArray[np.bool_], noise: SamplingNoise | None
    ) -> None:
        self.y, self.used, self.noise = y, used, noise
        self.fixed = _fold_effects(fold)
        members = [np.flatnonzero(configuration == i) for i in np.unique(configuration)]
        self.single = np.array([runs[0] for runs in members if len(runs) == 1], dtype=np.int64)
        self.groups = [(runs, fold[runs, None] == fold[runs]) for runs in members if len(runs) > 1]

    def solve(self, between: Floats, own: Floats) -> tuple[Floats, Floats]:
        """Log of the restricted likelihood (G,) of G pairs of variances, and the worth (G, R) of the runs under each.
        `own` is omega^2 where the sampling noise is known, else E."""
        p = self.fixed.shape[1]
        both = np.column_stack([self.fixed, self.y])  # (R, p + 1)
        alone, lasting = (part[:, 0, 0] for part in self._covariances(between, own, np.ones((1, 1), bool)))
        rows = both[self.single[self.used[self.single]]]
        moments = rows.T @ rows / alone[:, None, None]  # (G, p + 1, p + 1)
        logs = len(rows) * np.log(alone)
        for runs, same_fold in self.groups:
            kept = self.used[runs]
            covariance = self._covariances(between, own, same_fold[np.ix_(kept, kept)])[0]
            rows = both[runs[kept]]
            moments = moments + rows.T @ np.linalg.solve(covariance, np.broadcast_to(rows, (len(own), *rows.shape)))
            logs = logs + np.linalg.slogdet(covariance)[1]
        inner = moments[:, :p, :p] + 1e-9 * np.eye(p)  # no fold's effect need be known
        effects = np.linalg.solve(inner, moments[:, :p, p:])[..., 0]  # (G, p)
        square = moments[:, p, p] - np.einsum("gp,gp->g", moments[:, :p, p], effects)
        residual = self.y - effects @ self.fixed.T  # (G, R)
        worth = np.repeat(effects[:, :1], len(self.y), axis=1)
        worth[:, self.single] += (lasting / alone)[:, None] * residual[:, self.single]
        for runs, same_fold in self.groups:
            covariance, lasts = self._covariances(between, own, same_fold)
            worth[:, runs] += (lasts @ np.linalg.solve(covariance, residual[:, runs, None]))[..., 0]
        return -0.5 * (logs + np.linalg.slogdet(inner)[1] + square), worth

    def _covariances(self, between: Floats, own: Floats, same_fold: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Of the scores (G, n, n) of a configuration's runs, and of their worth with the scores."""
        one, shared = np.eye(len(same_fold)), between[:, None, None] * np.ones(same_fold.shape)
        alone = own[:, None, None] * one
        if self.noise is None:
            return shared + alone, shared
        worth = shared + alone
        return worth + self.noise.configuration * same_fold + self.noise.run * one, worth


def _fold_effects(fold: Indices) -> Floats:
    """(R, folds): the mean over the folds, and each fold's deviation from it; the last is minus the others' sum."""
    names = np.unique(fold)
    last = (fold == names[-1]).astype(float)
    columns = [np.ones(len(fold)), *[(fold == k).astype(float) - last for k in names[:-1]]]
    return np.stack(columns, axis=1)


def worth_of(study: optuna.Study) -> dict[str, float]:
    """Expected score on new data of every complete run of a study and its replicates, by the run's name."""
    runs = pool(study)
    if not runs:
        return {}
    keys = {key: i for i, key in enumerate(dict.fromkeys(run.key for run in runs))}
    configuration = np.array([keys[run.key] for run in runs])
    fold = np.array([run.fold or 0 for run in runs])
    worth = expected_worth(np.array([run.value for run in runs]), configuration, fold, _noise_of(study, runs))
    return {run.name: float(value) for run, value in zip(runs, worth, strict=True)}


def _noise_of(study: optuna.Study, runs: Sequence[Run]) -> SamplingNoise | None:
    """From the sums of some of the runs: of those that were repeated first, then evenly of all."""
    counts = Counter(run.key for run in runs)
    ordered = sorted(runs, key=lambda run: (-counts[run.key], run.key))
    several = [run for run in ordered if counts[run.key] > 1][: SAMPLE // 2]
    alone = [run for run in ordered if counts[run.key] == 1]
    few = SAMPLE - len(several)
    sample = several + alone[:: max(1, -(-len(alone) // few))]
    seeds = find_replicates(study)
    studies = {study.study_name: study} | ({} if seeds is None else {seeds.study_name: seeds})
    sums = stored_sums(studies, sample)
    known = [run for run in sample if run.name in sums]
    shapes = {(run.fold, sums[run.name].shape) for run in known}
    if len(known) < 2 or len(shapes) != len({fold for fold, _ in shapes}):  # other sequences: not comparable
        return None
    scores = resampled_scores([sums[run.name] for run in known], folds=[run.fold for run in known])
    keys = {key: i for i, key in enumerate(dict.fromkeys(run.key for run in known))}
    return sampling_noise(
        scores, np.array([keys[run.key] for run in known]), np.array([run.fold or 0 for run in known])
    )
