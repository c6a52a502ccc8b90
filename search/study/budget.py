"""The budget of a whole study, over all its workers: trials, hours of work, or a date and time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from optuna.trial import FrozenTrial, TrialState

from search.study.record import CONTINUES, DUPLICATE, IMPORTED, REDRAWN, seconds_of
from search.study.repeated import EXHAUSTED, repeats_in_a_row
from search.study.stalled import stalled
from search.studyfile.terms import BudgetSpec
from storage.claims import REASON


def spent(budget: BudgetSpec, trials: Sequence[FrozenTrial], now: datetime | None = None) -> str | None:
    """Why no further trial may begin, or None.

    Running trials count, so that N workers that ask at the same moment exceed the budget by less than N trials. Queued
    trials do not count: they are the next to begin. Nor do imported ones: they were trained under another study's
    budget.
    """
    if budget.until is not None and (now or datetime.now(UTC)) >= budget.until:
        return f"its end, {budget.until:%Y-%m-%d %H:%M %Z}, has come"
    paid = begun(trials)
    if budget.trials is not None and len(paid) >= budget.trials:
        return f"{len(paid)} of {budget.trials} trials are done or running"
    if budget.hours is not None and (hours := hours_of(paid)) >= budget.hours:
        return f"{hours:.2f} of {budget.hours:g} hours are spent"
    if budget.stalled is not None and (found := stalled(budget.stalled, trials)) is not None:
        return found
    if repeats_in_a_row(trials) >= EXHAUSTED:
        return f"the last {EXHAUSTED} configurations that were drawn had run before: the space holds hardly any other"
    return None


def begun(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count: not those queued or imported, nor those withdrawn without a run in their place. A draw
    that led to a replicate counts as one."""
    return [
        trial
        for trial in trials
        if trial.state != TrialState.WAITING
        and IMPORTED not in trial.user_attrs
        and trial.user_attrs.get(REASON) not in (DUPLICATE, REDRAWN)
    ]


def hours_of(trials: Sequence[FrozenTrial]) -> float:
    """Hours of training, as their workers measured them; for a running trial, up to its last epoch.

    A trial that takes a pruned one up again counts its epochs as well, so that one is left out.
    """
    goes_on = {trial.user_attrs[CONTINUES] for trial in trials if CONTINUES in trial.user_attrs and seconds_of(trial)}
    return sum(seconds_of(trial) for trial in trials if trial.number not in goes_on) / 3600.0


def without_end(budget: BudgetSpec, share: float) -> BudgetSpec:
    """The budget without the last `share` of its trials and hours; its other terms as they are."""
    trials = None if budget.trials is None else max(1, budget.trials - round(share * budget.trials))
    hours = None if budget.hours is None else (1 - share) * budget.hours
    return budget.model_copy(update={"trials": trials, "hours": hours})
