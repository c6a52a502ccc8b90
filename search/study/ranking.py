"""Ranks configurations by an estimate over their seeds, not by their luckiest seed."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.study.open import SEEDS
from search.study.random_effects import INTERVAL, Floats, fit
from search.study.resampling import covariance_of
from search.study.runs import Run


@dataclass(frozen=True)
class RankedConfiguration:
    """One configuration and its runs. Scores are mean weighted Pearson on the selection sequences unless said.

    `estimate`, `low`, `high` and `probability_best` are None for a configuration that was never repeated:
    a single run cannot separate luck from quality.
    """

    key: str
    trial: int | None  # the best search trial with this configuration
    configuration: dict[str, Any]
    runs: tuple[Run, ...]
    estimate: float | None
    low: float | None
    high: float | None
    probability_best: float | None
    failed: int = 0  # replicates that failed or diverged; each counts as a run with the worst value of all
    behind: tuple[float, float] | None = None  # 90 % interval of the first configuration's quality minus this one's

    @property
    def n(self) -> int:
        return len(self.runs)

    @property
    def mean(self) -> float:
        """Plain mean of all runs, including the search's own, which is too high by selection."""
        return statistics.fmean(run.value for run in self.runs)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the runs, or None for a single one."""
        return statistics.stdev(run.value for run in self.runs) if self.n > 1 else None

    @property
    def best_run(self) -> Run:
        return max(self.runs, key=lambda run: run.value)

    @property
    def report(self) -> tuple[float, float | None] | None:
        """Mean and standard deviation on the report sequences, which no selection has seen; None without any."""
        values = [run.report["mean"] for run in self.runs if run.report]
        if not values:
            return None
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


@dataclass(frozen=True)
class Ranking:
    """Repeated configurations by estimate, then those with a single run by its value.

    `noise` is the standard deviation of a run of one configuration, `between` that between configurations, `luck`
    by how much the search's own runs of the repeated configurations are too high; None until something is repeated.
    `resampled` says whether estimates and probabilities are about new sequences, or only about the selection's own.
    """

    rows: tuple[RankedConfiguration, ...]
    noise: float | None = None
    between: float | None = None
    luck: float | None = None
    resampled: bool = False

    @property
    def repeated(self) -> tuple[RankedConfiguration, ...]:
        return tuple(row for row in self.rows if row.estimate is not None)


def rank_runs(
    runs: Sequence[Run], sums: Mapping[str, Floats] | None = None, failed: Mapping[str, int] | None = None
) -> Ranking:
    """Rank the configurations of complete runs: the search's, and the replicates (of a study `NAME.seeds`).

    `sums` (N, 6, 2) by name of the run are its statistics on the selection sequences: with them the ranking is about
    new sequences. `failed` counts the replicates of a configuration (by key) that failed or diverged.
    """
    failed = failed or {}
    by_key = runs_by_key(runs)
    repeated = repeated_runs(runs, failed)
    single = [_row(key, found) for key, found in by_key.items() if key not in repeated]
    single.sort(key=lambda row: -row.mean)
    if not repeated:
        return Ranking(tuple(single))
    sampling = covariance_of(list(repeated.values()), sums or {})
    searched = np.array([run.value for run in runs if not is_replicate(run)])
    value, configuration, seed, origin, fold = _observed(repeated, failed)
    result = fit(value, configuration, seed, origin, sampling=sampling, population=searched, fold=fold)
    first = int(result.estimate.argmax())
    rows = [
        replace(
            _row(key, found, *(float(part[i]) for part in (result.estimate, result.low, result.high, result.best))),
            failed=failed.get(key, 0),
            behind=None if i == first else result.difference(first, i),
        )
        for i, (key, found) in enumerate(repeated.items())
    ]
    rows.sort(key=lambda row: -(row.estimate or 0.0))
    return Ranking((*rows, *single), result.noise, result.between, result.luck, sampling is not None)


def runs_by_key(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each configuration."""
    by_key: dict[str, list[Run]] = {}
    for run in runs:
        by_key.setdefault(run.key, []).append(run)
    return by_key


def repeated_runs(runs: Sequence[Run], failed: Mapping[str, int]) -> dict[str, list[Run]]:
    """The runs of each configuration that was repeated, successfully or not. A search may sample a configuration twice
    by itself; only replicates are free of its selection."""
    by_key = runs_by_key(runs)
    several = any(len(found) > 1 and any(map(is_replicate, found)) for found in by_key.values())
    return {
        key: found
        for key, found in by_key.items()
        if several and len(found) + failed.get(key, 0) > 1 and (failed.get(key) or any(map(is_replicate, found)))
    }


def _observed(
    repeated: Mapping[str, Sequence[Run]], failed: Mapping[str, int]
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Value, configuration, seed, origin and fold of each run. A failed replicate has the worst value
    of all: its true value is unknown, and without it a configuration would be ranked by its successful seeds alone."""
    flat = [
        (i, run.value, run.seed, not is_replicate(run), run.fold or 0)
        for i, found in enumerate(repeated.values())
        for run in found
    ]
    worst, unused = min(flat, key=lambda row: row[1]), -1
    for i, key in enumerate(repeated):
        for _ in range(failed.get(key, 0)):
            flat.append((i, worst[1], unused, False, worst[4]))
            unused -= 1
    seeds = {seed: j for j, seed in enumerate(dict.fromkeys(row[2] for row in flat))}
    return (
        np.array([row[1] for row in flat]),
        np.array([row[0] for row in flat]),
        np.array([seeds[row[2]] for row in flat]),
        np.array([row[3] for row in flat]),
        np.array([row[4] for row in flat]),
    )


def varying(rows: Sequence[RankedConfiguration]) -> list[str]:
    """Names of the parameters in which the configurations differ."""
    names = dict.fromkeys(name for row in rows for name in row.configuration)
    return [name for name in names if len({repr(row.configuration.get(name)) for row in rows}) > 1]


def to_document(ranking: Ranking, study: str, report_fraction: float) -> dict[str, Any]:
    """The ranking as plain JSON."""
    return {
        "study": study,
        "scores_on": "select",
        "report_fraction": report_fraction,
        "noise": ranking.noise,
        "between": ranking.between,
        "luck": ranking.luck,
        "interval": INTERVAL,
        "about_new_sequences": ranking.resampled,
        "configurations": [_document(i, row) for i, row in enumerate(ranking.rows, 1)],
    }


def to_csv(ranking: Ranking) -> str:
    """One line a configuration; the parameters in which they differ are columns of their own."""
    names = varying(ranking.rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["rank", "trial", "key", "n", "select_mean", "select_spread", "select_estimate", "select_low"]
    head += ["select_high", "probability_best", "best_run", "best_run_select", "report_mean", "report_spread"]
    writer.writerow(head + names)
    for i, row in enumerate(ranking.rows, 1):
        report = row.report or (None, None)
        best = row.best_run
        cells = [i, row.trial, row.key, row.n, row.mean, row.spread, row.estimate, row.low, row.high]
        cells += [row.probability_best, best.name, best.value, *report]
        writer.writerow(cells + [row.configuration.get(name) for name in names])
    return out.getvalue()


def is_replicate(run: Run) -> bool:
    """Whether the run repeats a configuration under another seed, and not one that the search has chosen."""
    return run.study.endswith(SEEDS)


def _row(
    key: str,
    runs: list[Run],
    estimate: float | None = None,
    low: float | None = None,
    high: float | None = None,
    best: float | None = None,
) -> RankedConfiguration:
    searched = [run for run in runs if not is_replicate(run)]
    own = max(searched, key=lambda run: run.value, default=None)
    trial = own.number if own is not None else runs[0].parent
    return RankedConfiguration(key, trial, runs[0].configuration, tuple(runs), estimate, low, high, best)


def _document(rank: int, row: RankedConfiguration) -> dict[str, Any]:
    best = row.best_run
    report = row.report
    return {
        "rank": rank,
        "trial": row.trial,
        "key": row.key,
        "n": row.n,
        "seeds": [run.seed for run in row.runs],
        "mean": row.mean,
        "spread": row.spread,
        "estimate": row.estimate,
        "low": row.low,
        "high": row.high,
        "probability_best": row.probability_best,
        "failed": row.failed,
        "behind": None if row.behind is None else list(row.behind),
        "best_run": {"run": best.name, "seed": best.seed, "value": best.value},
        "report": None if report is None else {"mean": report[0], "spread": report[1]},
        "configuration": row.configuration,
    }
