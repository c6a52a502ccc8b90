"""Promises of durations, budgets and stops."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.errors import SearchError
from search.study.budget import spent
from search.study.runs import IMPORTED
from search.studyfile.spec import BudgetSpec
from search.work.stopping import MARGIN, Stop, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h30m", 30600), ("90m", 5400), ("45s", 45), ("1d", 86400), ("1.5h", 5400), ("10", 10), (" 2H ", 7200)],
)
def test_durations(text: str, seconds: float) -> None:
    """The forms of the documentation."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "8x", "h", "-1h", "0", "1h 30m", "soon"])
def test_what_is_no_duration(text: str) -> None:
    """Everything else names the forms."""
    with pytest.raises(SearchError, match="no duration"):
        parse_duration(text)


def test_a_time_limit_leaves_room_for_the_next_epoch() -> None:
    """A stop is due when the next epoch, as long as the last and a quarter, would not leave the margin."""
    stop = Stop(time_limit=100.0)
    assert not stop.due(next_epoch=(100 - MARGIN) / 1.25 - 1)
    assert stop.due(next_epoch=(100 - MARGIN) / 1.25 + 1)
    assert stop.reason == "time limit"


def test_a_stop_ends_a_wait_and_the_first_reason_counts() -> None:
    """Whoever sleeps through `Stop` wakes up at once."""
    stop = Stop()
    stop.ask("SIGTERM")
    stop.ask("time limit")
    started = time.monotonic()
    stop.sleep(30)
    assert time.monotonic() - started < 1
    assert stop.reason == "SIGTERM"


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
