"""The few statistics that several parts of a report share. All deterministic: every draw has a fixed seed."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from search.report.record import Study, Trial

Floats = NDArray[np.float64]
LEVEL = 0.80  # of every interval that a report shows, unless it says otherwise
SEED = 20_260_301


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation of two samples (n,), ties averaged; NaN where one of them is constant."""
    first, second = ranks(a), ranks(b)
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def ranks(values: Floats) -> Floats:
    """Ranks from 0, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1.0
    return (last - (counts - 1) / 2)[inverse]


def interval(samples: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Central interval over the first axis of bootstrap samples (B, ...)."""
    tail = (1 - level) / 2
    return np.quantile(samples, tail, axis=0), np.quantile(samples, 1 - tail, axis=0)


def around(estimate: Floats, samples: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The interval of this level around `estimate` (...), as wide as resampled estimates (B, ...) vary.

    Resampling repeats runs, which shifts statistics of the best or of ranks: only the spread of the samples is used.
    """
    half = NormalDist().inv_cdf(0.5 + level / 2) * samples.std(axis=0, ddof=1)
    return np.asarray(estimate - half), np.asarray(estimate + half)


def credited(study: Study) -> tuple[list[Trial], Floats]:
    """Finished and pruned trials with comparable values.

    A pruned run would have gone on to rise: it is credited with what finished runs still gained, in the median, after
    the epoch at which it was ended. Without that, slow learners would be underrated.
    """
    trials = study.scored
    gains = _later_gains(study.finished)
    values = [
        float(t.value or 0.0) + (gains[min(t.epochs, len(gains)) - 1] if t.state == "pruned" and gains else 0.0)
        for t in trials
    ]
    return trials, np.array(values)


def _later_gains(finished: list[Trial]) -> list[float]:
    """Median of final minus best so far after each epoch, over the runs that went on; as long as three did."""
    gains: list[float] = []
    for epoch in range(max((t.epochs for t in finished), default=0)):
        left = [t.best_so_far[-1] - t.best_so_far[epoch] for t in finished if t.epochs > epoch + 1]
        if len(left) < 3:
            break
        gains.append(float(np.median(left)))
    return gains
