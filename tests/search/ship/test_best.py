"""Members are the runs whose average is expected to score best."""

import itertools
from collections.abc import Sequence

import numpy as np
import optuna
import pytest

from search.ship.best import USUAL_OTHER, USUAL_SAME, best_average, best_runs, usual
from search.ship.members import candidates
from search.study.runs import Run

Floats = np.ndarray


def expected(worth: Floats, correlation: Floats, members: Sequence[int]) -> float:
    """Of the uniform average."""
    chosen = list(members)
    return float(worth[chosen].mean() / np.sqrt(correlation[np.ix_(chosen, chosen)].mean()))


def test_the_average_is_the_best_of_all() -> None:
    """Small pools, searched whole: what is chosen one by one is within half a percent of the best average of its size,
    and no run more would add anything."""
    random = np.random.default_rng(0)
    for _ in range(20):
        worth = random.uniform(0.2, 0.3, 8)
        factors = random.normal(size=(8, 3))
        rows = factors / np.linalg.norm(factors, axis=1, keepdims=True)
        correlation = 0.6 + 0.4 * (0.5 * (rows @ rows.T) ** 2 + 0.5 * np.eye(8))
        chosen = best_average(worth, correlation, 4)
        whole = max(expected(worth, correlation, c) for c in itertools.combinations(range(8), len(chosen)))
        assert expected(worth, correlation, chosen) > 0.995 * whole
        if len(chosen) < 4:
            value = expected(worth, correlation, chosen)
            rest = set(range(8)) - set(chosen)
            assert all(expected(worth, correlation, [*chosen, i]) <= value + 1e-12 for i in rest)


def test_a_poor_run_and_a_copy_add_nothing() -> None:
    """A run that predicts as another does is not taken beside it, nor one that is worth little."""
    worth = np.array([0.30, 0.30, 0.29, 0.02])
    correlation = np.array([[1, 1, 0.8, 0.7], [1, 1, 0.8, 0.7], [0.8, 0.8, 1, 0.7], [0.7, 0.7, 0.7, 1.0]])
    assert best_average(worth, correlation, 4) == [0, 2]


def test_at_most_so_many(study: optuna.Study) -> None:
    """The best comes first, and none is there twice."""
    runs = candidates(study)
    found = best_runs(study, runs, 3)
    assert 1 <= len(found) <= 3 and len({run.name for run in found}) == len(found)
    assert [run.name for run in best_runs(study, runs, 1)] == [found[0].name]


def test_measured_correlations_decide(study: optuna.Study) -> None:
    """Runs that are measured to predict the same are not averaged; by usual correlations they would be."""
    runs = candidates(study)

    def the_same(_: optuna.Study, asked: Sequence[Run]) -> Floats:
        return np.ones((len(asked), len(asked)))

    assert len(best_runs(study, runs, 6, the_same)) == 1
    assert len(best_runs(study, runs, 6)) > 1


def test_usual_correlations(study: optuna.Study) -> None:
    """By configuration."""
    runs = candidates(study)
    found = usual(runs)
    for (i, a), (j, b) in itertools.product(enumerate(runs), repeat=2):
        assert found[i, j] == pytest.approx(1.0 if i == j else USUAL_SAME if a.key == b.key else USUAL_OTHER)
