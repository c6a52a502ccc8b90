"""A study's budget counts the trials, hours and time of all its workers."""

from datetime import UTC, datetime, timedelta

from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.budget import spent
from search.study.record import DUPLICATE, IMPORTED
from search.studyfile.terms import BudgetSpec
from storage.claims import REASON


def _trial(state: TrialState, **attrs: object) -> FrozenTrial:
    value = 0.1 if state == TrialState.COMPLETE else None
    return create_trial(state=state, value=value, user_attrs=dict(attrs))


def test_the_budget_counts_what_has_begun() -> None:
    """Running trials count, queued and imported ones do not."""
    done = [_trial(TrialState.COMPLETE), _trial(TrialState.PRUNED), _trial(TrialState.FAIL)]
    budget = BudgetSpec(trials=4)
    assert spent(budget, done) is None
    assert spent(budget, [*done, _trial(TrialState.WAITING)]) is None
    assert spent(budget, [*done, _trial(TrialState.COMPLETE, **{IMPORTED: "a#1"})]) is None
    assert spent(budget, [*done, _trial(TrialState.FAIL, **{REASON: DUPLICATE})]) is None
    assert spent(budget, [*done, _trial(TrialState.RUNNING)]) == "4 of 4 trials are done or running"


def test_hours_are_summed_over_all_workers() -> None:
    """Seconds that trials report add up, those of a running trial included."""
    trials = [_trial(TrialState.COMPLETE, seconds=1800.0), _trial(TrialState.RUNNING, seconds=1799.0)]
    assert spent(BudgetSpec(hours=1.0), trials) is None
    trials.append(_trial(TrialState.FAIL, seconds=1.0))
    assert spent(BudgetSpec(hours=1.0), trials) == "1.00 of 1 hours are spent"


def test_a_moment_ends_the_study() -> None:
    """`until` is compared as a moment, whatever the time zone."""
    now = datetime.now(UTC)
    assert spent(BudgetSpec(until=now + timedelta(minutes=1)), [], now) is None
    assert "has come" in str(spent(BudgetSpec(until=now), [], now))


def test_no_budget_never_ends() -> None:
    """Without terms a study goes on until it is stopped."""
    assert spent(BudgetSpec(), [_trial(TrialState.COMPLETE)] * 1000) is None
