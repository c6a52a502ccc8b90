"""What an ensemble is expected to score, from its members' quality and the correlations of their predictions.

The uniform average of K members of equal spread whose predictions correlate with the target by r_i, and with one
another by C_ij, correlates with the target by mean(r) / sqrt(mean(C)). C needs no targets, so it can be measured on any
sequences; the r_i are the ranking's estimates of the configurations, not the luck of single runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import optuna
from numpy.typing import NDArray

from lobmodels.data import Sequences
from search.ship.best import USUAL_SAME, WORTHLESS
from search.ship.members import candidates, load_members
from search.ship.validation import require_same_data
from search.study.plan import CONFIGURATIONS, MEMBERS, EnsemblePlan, chosen_runs, seeds_of
from search.study.ranking import RankedConfiguration, is_replicate
from search.study.replication import rank_study
from search.study.runs import Run

if TYPE_CHECKING:
    from lobmodels.checkpoint import Checkpoint

Floats = NDArray[np.float64]
SEQUENCES = 32  # of the validation sequences, evenly spaced: 29,000 scored steps


@dataclass
class Predictions:
    """Standardised predictions of runs on a few sequences, computed once a process. No target is read."""

    data: Sequences
    device: str = "cpu"
    _known: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def correlations(self, study: optuna.Study, runs: Sequence[Run]) -> Floats:
        """(R, R): correlation of the runs' predictions, the mean over the targets; 0 with a constant one.

        Raises `BundleError` where a run was validated on other sequences.
        """
        missing = [run for run in runs if run.name not in self._known]
        for run, member in zip(missing, load_members(study, missing), strict=True):
            require_same_data(member, self.data)
            self._known[run.name] = self._standardised(member)
        rows = np.stack([self._known[run.name] for run in runs])  # (R, K, rows)
        found = np.asarray(np.einsum("ikn,jkn->ij", rows, rows, optimize=True) / rows.shape[1], dtype=np.float64)
        np.fill_diagonal(found, 1.0)  # a constant run as well: no average of it would seem free of noise
        return found

    def _standardised(self, member: Checkpoint) -> NDArray[np.float32]:
        """(K, rows), each row of mean 0 and length 1; a constant prediction stays 0."""
        index = np.unique(np.linspace(0, len(self.data) - 1, min(SEQUENCES, len(self.data))).round().astype(np.int64))
        schema = self.data.schema
        found = member.predict(self.data.features[index], self.device)[:, schema.warmup_steps :]
        rows = found.reshape(-1, found.shape[-1]).T.astype(np.float64)
        if schema.variable_length:  # without what lies behind an end
            step = np.arange(schema.warmup_steps, schema.warmup_steps + found.shape[1])
            rows = rows[:, (step < self.data.lengths[index, None]).ravel()]
        rows -= rows.mean(1, keepdims=True)
        length = np.sqrt((rows**2).sum(1, keepdims=True))
        return (rows / np.where(length > 0, length, 1.0)).astype(np.float32)


@dataclass(frozen=True)
class Outlook:
    """Configurations as an ensemble sees them: expected score of one run each, `quality` (C,), and `correlation` (C, C)
    between runs, with that between two seeds of one configuration on the diagonal."""

    keys: tuple[str, ...]
    quality: Floats
    correlation: Floats

    def expected(self, counts: NDArray[np.int64]) -> float:
        """Expected score of the uniform average of so many runs of each configuration (C,)."""
        total = counts.sum()
        if not total:
            return 0.0
        same = np.diag(self.correlation)
        variance = counts @ self.correlation @ counts + (counts * (1.0 - same)).sum()  # a run correlates 1 with itself
        return float((counts @ self.quality) / np.sqrt(variance))

    def best(self, available: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
        """How many of the available runs (C,) to take of each, added one by one while the ensemble gains, and the
        expected score."""
        counts, value = np.zeros_like(available), -np.inf
        while counts.sum() < MEMBERS:
            trials = [self.expected(counts + step) for step in np.eye(len(counts), dtype=np.int64)]
            gains = np.where(counts < available, trials, -np.inf)
            k = int(gains.argmax())
            if gains[k] <= value:
                break
            counts[k] += 1
            value = float(gains[k])
        return counts, value

    def next_seed(self, available: NDArray[np.int64]) -> int | None:
        """The configuration of which one more run would gain most; None where none would gain."""
        now = self.best(available)[1]
        gains = [self.best(available + step)[1] - now for step in np.eye(len(available), dtype=np.int64)]
        k = int(np.argmax(gains))
        return k if gains[k] > 0 else None


def outlook(study: optuna.Study, plan: EnsemblePlan, predictions: Predictions) -> tuple[Outlook, dict[str, list[Run]]]:
    """The plan's configurations, and the runs of each that can be members, in the order in which they are taken.

    Retention may have removed the weights of all runs of a configuration: it is left out. Where it has of all chosen
    ones, the best runs with weights take their place.
    """
    stored = candidates(study)
    with_weights = {run.key for run in stored}
    keys = tuple(run.key for run in chosen_runs(study, plan) if run.key in with_weights)
    keys = keys or tuple(dict.fromkeys(run.key for run in stored))[:CONFIGURATIONS]
    members: dict[str, list[Run]] = {key: [] for key in keys}
    for run in sorted(stored, key=lambda run: (is_replicate(run), run.seed, run.number)):
        if run.key in members:
            members[run.key].append(run)
    flat = [run for key in keys for run in members[key]]
    ranked = {row.key: row for row in rank_study(study, keys).rows}
    quality = [_quality(ranked[key]) for key in keys]
    of = np.array([keys.index(run.key) for run in flat])
    return Outlook(keys, np.array(quality), by_configuration(predictions.correlations(study, flat), of)), members


def _quality(row: RankedConfiguration) -> float:
    """The estimate, or the only run's score. Below `WORTHLESS` all are equal: the most diverse ones are then taken."""
    return max(WORTHLESS, row.mean if row.estimate is None else row.estimate)


def by_configuration(correlations: Floats, of: NDArray[np.int64]) -> Floats:
    """(C, C) mean correlations between runs of configurations, from those of runs (R, R) and each one's configuration.

    A configuration with one run has the mean of the others on the diagonal.
    """
    count = int(of.max()) + 1
    one = np.eye(count)[of]  # (R, C)
    off = correlations - np.diag(np.diag(correlations))
    runs = one.sum(0)
    pairs = np.outer(runs, runs) - np.diag(runs)
    sums = one.T @ off @ one
    found = np.divide(sums, pairs, out=np.full_like(sums, np.nan), where=pairs > 0)
    known = np.diag(found)[np.isfinite(np.diag(found))]
    np.fill_diagonal(
        found, np.where(np.isnan(np.diag(found)), known.mean() if len(known) else USUAL_SAME, np.diag(found))
    )
    return found


def next_run(study: optuna.Study, plan: EnsemblePlan, predictions: Predictions) -> Run | None:
    """The search run whose configuration should get one more seed; None where the ensemble would not gain."""
    chosen = chosen_runs(study, plan)
    counts = seeds_of(study, chosen)
    seen, _ = outlook(study, plan, predictions)
    k = seen.next_seed(np.array([counts.get(key, 1) for key in seen.keys]))
    return None if k is None else next((run for run in chosen if run.key == seen.keys[k]), None)
