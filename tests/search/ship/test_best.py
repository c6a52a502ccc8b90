"""Members are the runs whose average is expected to score best."""

import itertools
from collections.abc import Sequence

import numpy as np
import optuna
import pytest

from search.ship.best import FEWEST, POOL, USUAL_OTHER, USUAL_SAME, best_average, best_of, best_runs, usual
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
        chosen = best_average(worth, correlation, 4, fewest=1)
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
    assert best_average(worth, correlation, 4, fewest=1) == [0, 2]


def test_no_average_rests_on_few_runs() -> None:
    """Of runs that predict alike eight are taken, though no further one than the first is expected to add anything."""
    worth = np.linspace(0.31, 0.3, 30)
    assert best_of(worth, 20, lambda places: np.ones((len(places), len(places)))) == list(range(FEWEST))
    assert best_of(worth[:5], 20, lambda places: np.ones((len(places), len(places)))) == list(range(5))


def test_a_run_of_the_worse_half_is_no_member() -> None:
    """It predicts unlike all others, as one does that learned little, and its worth is estimated near theirs."""
    worth = np.linspace(0.32, 0.30, 2 * POOL + 4)
    correlation = np.where(np.eye(len(worth)) > 0, 1.0, 0.9)
    correlation[-1, :-1] = correlation[:-1, -1] = 0.0
    chosen = best_of(worth, 20, lambda places: correlation[np.ix_(places, places)])
    assert chosen and max(chosen) < len(worth) // 2
    chosen = best_of(worth[::2], 20, lambda places: correlation[::2, ::2][np.ix_(places, places)])
    assert len(chosen) >= FEWEST and max(chosen) < POOL


def test_at_most_so_many(study: optuna.Study) -> None:
    """The best comes first, and none is there twice."""
    runs = candidates(study)
    found = best_runs(study, runs, 3)
    assert 1 <= len(found) <= 3 and len({run.name for run in found}) == len(found)
    assert [run.name for run in best_runs(study, runs, 1)] == [found[0].name]


def test_measured_correlations_decide(study: optuna.Study) -> None:
    """Where runs predict the same no further one is taken than must be; by usual correlations there are more."""
    runs = candidates(study)

    def the_same(_: optuna.Study, asked: Sequence[Run]) -> Floats:
        return np.ones((len(asked), len(asked)))

    assert len(best_runs(study, runs, 20, the_same)) == min(FEWEST, len(runs))
    assert len(best_runs(study, runs, 20)) >= len(best_runs(study, runs, 20, the_same))


def test_usual_correlations(study: optuna.Study) -> None:
    """By configuration."""
    runs = candidates(study)
    found = usual(runs)
    for (i, a), (j, b) in itertools.product(enumerate(runs), repeat=2):
        assert found[i, j] == pytest.approx(1.0 if i == j else USUAL_SAME if a.key == b.key else USUAL_OTHER)
