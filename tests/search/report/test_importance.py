"""Importance finds what matters, equals Optuna's, and finds nothing where nothing matters."""

import numpy as np
import optuna
import pytest
from optuna.storages import InMemoryStorage

from search.report.importance import _importances, importance
from search.report.record import Study, read_study
from tests.made_study import make_study
from tests.search.report.known_study import shuffled


def test_importance_finds_the_learning_rate(known: Study) -> None:
    """The parameter that matters most leads and lies beyond chance; one without effect does not."""
    result = importance(known)
    assert result is not None
    assert result.names[0] == "lr"
    sure = result.beyond_chance()
    assert "lr" in sure
    assert "dropout" not in sure
    assert "pearson_alpha" not in sure
    assert result.values.sum() == pytest.approx(1)
    assert (result.low <= result.values).all()
    assert (result.values <= result.high).all()


def test_importance_of_nothing(known: Study) -> None:
    """Where scores are dealt out at random, hardly a parameter is said to matter."""
    result = importance(shuffled())
    assert result is not None
    assert len(result.beyond_chance()) <= 2  # of eleven, each with a chance of one in ten to look so


def test_importance_is_optunas(known: Study) -> None:
    """Without resampling, the numbers are those of Optuna's own evaluator."""
    study = optuna.create_study(direction="maximize")
    trials = [t.frozen for t in known.finished]
    study.add_trials(trials)
    ours = _importances(study.trials, np.array([t.value for t in study.trials]), list(known.searched))
    theirs = optuna.importance.get_param_importances(study, normalize=False)
    expected = [theirs.get(name, 0.0) + theirs.get(f"{name}.or", 0.0) for name in known.searched]
    assert ours == pytest.approx(expected)


def test_too_few_runs_for_importance() -> None:
    """Nothing is computed from a handful of runs."""
    assert importance(read_study(make_study(InMemoryStorage(), 10))) is None
