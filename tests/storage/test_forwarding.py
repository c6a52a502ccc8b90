"""The promise of the forwarding storage: every method of Optuna's interface reaches the storage underneath."""

import inspect
from pathlib import Path
from unittest.mock import create_autospec

import optuna
import pytest
from optuna.storages import BaseStorage

from storage.backends.registry import open_storage
from storage.forwarding import ForwardingStorage


@pytest.mark.parametrize("name", sorted(BaseStorage.__abstractmethods__))
def test_every_method_is_passed_on(name: str) -> None:
    """With its arguments in their places, and the answer comes back."""
    inner = create_autospec(BaseStorage, instance=True)
    parameters = list(inspect.signature(getattr(BaseStorage, name)).parameters)[1:]
    answer = getattr(ForwardingStorage(inner), name)(*parameters)
    called = getattr(inner, name)
    called.assert_called_once()
    passed = inspect.signature(getattr(BaseStorage, name)).bind(None, *called.call_args.args, **called.call_args.kwargs)
    assert list(passed.arguments.values())[1:] == parameters
    assert answer is (None if answer is None else called.return_value)


def test_a_study_works_through_it(tmp_path: Path) -> None:
    """A whole trial through the forwarding storage is stored underneath."""
    inner = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(study_name="s", storage=ForwardingStorage(inner))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    assert len(optuna.load_study(study_name="s", storage=inner).trials) == 3
    assert study.best_value == min(trial.value for trial in study.trials if trial.value is not None)
