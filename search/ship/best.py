"""The runs whose uniform average is expected to score best on new data, from the whole pool of runs.

A replicate is not a member by right, nor a lucky run by its score: each run counts as what it is expected to be worth
(`search.study.worth`), and runs that predict alike gain less together. docs/selection-proof.md compares this with the
best single runs and with the best configurations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import optuna
from numpy.typing import NDArray

from search.study.runs import Run
from search.study.worth import worth_of

Floats = NDArray[np.float64]
Alike = Callable[[optuna.Study, Sequence[Run]], Floats]  # correlations (R, R) of the predictions of runs

WORTHLESS = 1e-3  # no run is taken for less: an average of worse ones would be expected to lose by its size
USUAL_SAME, USUAL_OTHER = 0.92, 0.88  # correlation of runs of one configuration, and of two, where none is measured
CONSIDERED = 2  # times the members that are asked for: so many of the best runs are considered
POOL, FEWEST = 10, 8  # runs that are considered, and members, of which fewer are taken only where there are fewer


def best_runs(study: optuna.Study, runs: Sequence[Run], most: int, alike: Alike | None = None) -> list[Run]:
    """At most `most` of the `runs`, in the order in which they were added: the one that is worth most comes first.

    Only the better half of the runs is considered (at least `POOL`): a run that learned little predicts unlike all
    others, which looks like diversity, and its worth is estimated too near theirs, as that of any run far from the
    mean. `alike` measures how runs' predictions correlate; without it usual correlations are taken. Fewer than `most`
    runs are returned where, beyond `FEWEST`, no further one is expected to add anything.
    """
    worth = worth_of(study)
    ordered = sorted(runs, key=lambda run: (-run.value, run.study, run.number))

    def correlations(places: Sequence[int]) -> Floats:
        chosen = [ordered[i] for i in places]
        return usual(chosen) if alike is None else alike(study, chosen)

    return [ordered[i] for i in best_of(np.array([worth[run.name] for run in ordered]), most, correlations)]


def best_of(worth: Floats, most: int, correlations: Callable[[Sequence[int]], Floats]) -> list[int]:
    """Places in `worth` (R,) of the runs that `best_runs` takes; `correlations` gives (n, n) for n places."""
    count = min(max(POOL, -(-len(worth) // 2)), CONSIDERED * most)
    considered = [int(place) for place in np.argsort(-worth, kind="stable")[:count]]
    chosen = best_average(np.maximum(worth[considered], WORTHLESS), correlations(considered), most)
    return [considered[i] for i in chosen]


def usual(runs: Sequence[Run]) -> Floats:
    """Correlations (R, R) of predictions as runs of this kind usually have them."""
    keys = np.array([run.key for run in runs])
    found = np.where(keys[:, None] == keys, USUAL_SAME, USUAL_OTHER)
    np.fill_diagonal(found, 1.0)
    return found


def best_average(worth: Floats, correlation: Floats, most: int, fewest: int = FEWEST) -> list[int]:
    """The runs whose uniform average is expected to score best, `most` at most.

    The average of runs of equal spread that are worth r (R,) and whose predictions correlate by C (R, R) is worth
    mean(r) / sqrt(mean(C)). The run that leaves most of it is added, `fewest` times in any case, as r and C are
    estimates and an average of few runs rests on each of them; then while it rises.
    """
    chosen: list[int] = []
    best, total, sums, row = -np.inf, 0.0, 0.0, np.zeros(len(worth))
    while len(chosen) < min(most, len(worth)):
        count = len(chosen) + 1
        with_each = (total + worth) / count / np.sqrt((sums + 2 * row + np.diag(correlation)) / count**2)
        with_each[chosen] = -np.inf
        i = int(with_each.argmax())
        if with_each[i] <= best and count > fewest:
            break
        best = float(with_each[i])
        total, sums = total + worth[i], sums + 2 * row[i] + correlation[i, i]
        row = row + correlation[i]
        chosen.append(i)
    return chosen
