"""The next study file: what is dropped goes with what depends on it; few trials change nothing."""

from optuna.storages import InMemoryStorage

from search.report.effects import Effects, effects
from search.report.nextstudy import next_study
from search.report.record import Study, read_study
from tests.made_study import make_study


def test_what_depends_on_a_dropped_choice_goes_with_it(known: Study, found: Effects) -> None:
    """When only mse is left, the parameters of the other losses are gone from the file."""
    following = next_study(known, found)
    losses = {a.name: a for a in following.advice}["loss"].next
    assert "pearson_combined" not in str(losses)
    assert "pearson_alpha" not in following.text


def test_few_trials_change_nothing() -> None:
    """From a handful of runs the ranges stay, and the file says so by saying nothing."""
    study = read_study(make_study(InMemoryStorage(), 15))
    following = next_study(study, effects(study))
    assert not any(a.changed for a in following.advice)
    assert "the same ranges" in following.text
