"""Uncertainty of a score and of a difference of two: sequences are resampled, the same ones for all submissions.

A score depends on a sequence through six sums for each target, whatever built-in metric it is. They are computed once;
a repetition adds them over the sequences drawn, so that hundreds of repetitions of many submissions take seconds. A
plugin's metric has no sums: all rows are kept, and each repetition computes it anew on those of the sequences drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lobmodels.errors import ScoringError
from lobmodels.metric import Moments, metric_of, whole_score
from lobmodels.schema import LOB, Schema

Floats = NDArray[np.float64]
REPETITIONS = 200
INTERVAL = 0.9  # of a difference to the champion
SUMS = "sums."  # prefix of the tensors of a checkpoint that hold `sequence_statistics`, by part of validation
FEW = 20  # with fewer sequences, resamples repeat the same ones and intervals are too narrow to decide anything
QUANTILE = 10.0  # a "safe" score is exceeded in 90 % of the repetitions


@dataclass(frozen=True)
class Row:
    """One submission: its score on the sequences as they are, and over the repetitions. The champion's difference
    is None."""

    name: str
    scores: tuple[float, ...]  # of each target
    mean: float
    p10: float
    p90: float
    spread: float  # standard deviation over the repetitions
    difference: float | None  # of the mean to the champion's
    low: float | None  # of the difference's interval
    high: float | None
    p_better: float | None  # share of the repetitions in which it beats the champion


@dataclass(frozen=True)
class Comparison:
    """Submissions side by side. `safe` has the highest p10, `bold` the highest p90."""

    rows: tuple[Row, ...]
    targets: tuple[str, ...]
    champion: str
    sequences: int
    repetitions: int

    @property
    def safe(self) -> Row:
        """The row with the highest p10: best when the resampled sequences suit it badly."""
        return max(self.rows, key=lambda row: (row.p10, row.mean))

    @property
    def bold(self) -> Row:
        """The row with the highest p90: best when the resampled sequences suit it well."""
        return max(self.rows, key=lambda row: (row.p90, row.mean))


def sequence_statistics(prediction: ArrayLike, target: ArrayLike, schema: Schema = LOB) -> Floats:
    """Sums of w, wp, wy, wpp, wpy, wyy over each sequence: (N, 6, K) from predictions and targets (N, S, K).

    Weights and clipping are those of the metric that `schema` names. Steps whose target is NaN lie behind the end of a
    shorter sequence and add nothing. Under a plugin's metric they are the rows themselves, clipped: (N, 2 S, K),
    predictions before targets.
    """
    y = np.asarray(target, dtype=np.float64)
    p = np.asarray(prediction, dtype=np.float64)
    p, metric = p if schema.clip is None else np.clip(p, -schema.clip, schema.clip), metric_of(schema)
    if metric.whole is not None:
        return np.concatenate([p, y], 1)
    p, y, w = metric.rows(p, y)
    if schema.variable_length:
        there = ~np.isnan(y)
        p, y, w = (np.where(there, part, 0.0) for part in (p, y, w))
    wp, wy = w * p, w * y
    return np.stack([part.sum(1) for part in (w, wp, wy, wp * p, wp * y, wy * y)], axis=1)


def scores_from(sums: Floats, schema: Schema) -> Floats:
    """Scores (..., K) under the metric of `schema` from summed statistics (..., 6, K)."""
    metric = metric_of(schema)
    if metric.correlates:
        return correlations(sums)
    w, p, y, pp, py, yy = np.moveaxis(sums, -2, 0)
    safe = np.where(w > 0, w, 1.0)
    mean_p, mean_y = p / safe, y / safe
    moments = (pp - w * mean_p**2, py - w * mean_p * mean_y, yy - w * mean_y**2)
    return np.asarray(metric.value(Moments(w, mean_p, mean_y, *moments)))


def correlations(sums: Floats) -> Floats:
    """Pearson correlations (..., K) with the weights of the summed statistics (..., 6, K); 0 where nothing varies."""
    w, p, y, pp, py, yy = np.moveaxis(sums, -2, 0)
    mean_p, mean_y = p / w, y / w
    variance = (pp / w - mean_p**2) * (yy / w - mean_y**2)
    # This one-pass formula leaves rounding noise for a constant, so the threshold is larger than the metric's.
    varies = (pp / w - mean_p**2 > 1e-13 * (pp / w)) & (yy / w - mean_y**2 > 1e-13 * (yy / w))
    return np.where(varies, (py / w - mean_p * mean_y) / np.sqrt(np.where(varies, variance, 1.0)), 0.0)


def score_interval(runs: Sequence[Floats], level: float = INTERVAL) -> tuple[float, float, float]:
    """Mean score of some runs, and the interval of this level around it over sequences drawn again.

    `runs` are their sums (N, 6, targets) on the same sequences. The interval is as wide as the resampled means vary.
    """
    n = len(runs[0])
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=REPETITIONS).astype(np.float64)
    score = float(np.mean([correlations(sums.sum(0)).mean() for sums in runs]))
    again = np.mean([correlations(np.tensordot(drawn, sums, axes=1)).mean(-1) for sums in runs], axis=0)  # (R,)
    half = NormalDist().inv_cdf(0.5 + level / 2) * float(again.std(ddof=1))
    return score, score - half, score + half


@dataclass(frozen=True)
class Difference:
    """How much one group of runs scores above another on the same sequences, with its interval."""

    value: float
    low: float
    high: float
    better: float  # share of the repetitions in which it is ahead


def paired_difference(runs: Sequence[Floats], against: Sequence[Floats], level: float = INTERVAL) -> Difference:
    """Mean score of `runs` minus that of `against`, each given by its sums (N, 6, targets) on the same N sequences.

    Every repetition draws the sequences again, the same for all runs, and the runs of both groups: with several runs a
    group the interval holds what the seeds contribute, with a single one it does not.
    """
    random = np.random.default_rng(0)
    n = len(runs[0])
    drawn = random.multinomial(n, np.full(n, 1 / n), size=REPETITIONS).astype(np.float64)
    means, samples = [], []
    for group in (runs, against):
        scores = np.stack([correlations(np.tensordot(drawn, sums, axes=1)).mean(-1) for sums in group], axis=1)
        picks = random.integers(len(group), size=scores.shape)
        samples.append(np.take_along_axis(scores, picks, axis=1).mean(axis=1))  # (R,)
        means.append(np.mean([correlations(sums.sum(0)).mean() for sums in group]))
    gaps = samples[0] - samples[1]
    half = NormalDist().inv_cdf(0.5 + level / 2) * float(gaps.std(ddof=1))
    value = float(means[0] - means[1])
    better = float((gaps > 0).mean() + 0.5 * (gaps == 0).mean())
    return Difference(value, value - half, value + half, better)


def compare(
    statistics: Mapping[str, Floats],
    champion: str,
    repetitions: int = REPETITIONS,
    seed: int = 0,
    schema: Schema = LOB,
) -> Comparison:
    """Bootstrap the submissions in `statistics` (each (N, 6, K), over the same sequences) against `champion`.

    Every repetition draws N sequences with replacement, the same for all. Raises `ScoringError` where the numbers of
    sequences differ or the champion is not among them.
    """
    if champion not in statistics:
        raise ScoringError(f"champion {champion!r} was not scored; scored are {', '.join(statistics)}")
    counts = {name: len(values) for name, values in statistics.items()}
    if len(set(counts.values())) != 1:
        raise ScoringError(f"submissions were scored on different numbers of sequences: {counts}; score them together")
    if repetitions < 2:
        message = f"repetitions={repetitions}: a spread needs at least 2 repetitions, 200 are usual"
        raise ScoringError(message, arguments=["repetitions"])
    n = counts[champion]
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=repetitions).astype(np.float64)
    scores = {name: _of_draws(values, drawn, schema).mean(-1) for name, values in statistics.items()}  # (R,) each
    whole = {name: _of_draws(values, np.ones((1, n)), schema)[0] for name, values in statistics.items()}
    rows = tuple(_row(name, whole, scores, champion) for name in statistics)
    return Comparison(rows, schema.targets, champion, n, repetitions)


def _of_draws(statistics: Floats, drawn: Floats, schema: Schema) -> Floats:
    """Scores (R, K) of the sequences of `statistics`, each as often as `drawn` (R, N) says."""
    name = metric_of(schema).whole
    if name is None:
        return scores_from(np.tensordot(drawn, statistics, axes=1), schema)
    rows = statistics.reshape(len(statistics), 2, -1, statistics.shape[-1]).swapaxes(0, 1)  # (2, N, S, K)
    found = []
    for counts in drawn.astype(np.int64):
        p, y = rows[:, np.repeat(np.arange(len(counts)), counts)].reshape(2, -1, rows.shape[-1])
        found.append(whole_score(name, p, y))
    return np.stack(found)


def _row(name: str, whole: Mapping[str, Floats], scores: Mapping[str, Floats], champion: str) -> Row:
    mine, mean = scores[name], float(whole[name].mean())
    difference = low = high = better = None
    if name != champion:
        gaps = mine - scores[champion]
        difference = mean - float(whole[champion].mean())
        edge = 50 * (1 - INTERVAL)
        low, high = (float(q) for q in np.percentile(gaps, [edge, 100 - edge]))
        better = float((gaps > 0).mean() + 0.5 * (gaps == 0).mean())
    p10, p90 = (float(q) for q in np.percentile(mine, [QUANTILE, 100 - QUANTILE]))
    spread = float(mine.std(ddof=1))
    return Row(name, tuple(whole[name].tolist()), mean, p10, p90, spread, difference, low, high, better)
