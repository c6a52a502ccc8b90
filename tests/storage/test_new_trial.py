"""The promise of a new trial: it runs, and nothing is known about it."""

from datetime import datetime

from optuna.trial import TrialState

from storage.new_trial import new_trial


def test_a_new_trial_runs_and_is_empty() -> None:
    """Two of them share nothing that one could change."""
    started = datetime(2030, 1, 2)
    first, second = new_trial(3, 17, started), new_trial(4, 18, started, {"a": 1})
    assert (first.number, first.state, first.datetime_start) == (3, TrialState.RUNNING, started)
    first.user_attrs["seed"] = 1
    first.system_attrs["b"] = 2
    assert (second.user_attrs, second.system_attrs) == ({}, {"a": 1})
    assert not (first.params or first.distributions or first.intermediate_values)
