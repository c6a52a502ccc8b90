"""The budget of a whole study, over all its workers: trials, hours of work, or a moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from optuna.trial import FrozenTrial, TrialState

from search.study.create import TWICE
from search.study.runs import IMPORTED
from search.studyfile.spec import BudgetSpec
from storage.claims import REASON


def spent(budget: BudgetSpec, trials: Sequence[FrozenTrial], now: datetime | None = None) -> str | None:
    """Why no further trial may begin, or None.

    A running trial counts as one, so that workers who ask at the same moment overshoot by no more than themselves.
    Trials still queued do not: they are the next to begin. Imported trials were paid for by another study.
    """
    if budget.until is not None and (now or datetime.now(UTC)) >= budget.until:
        return f"its end, {budget.until:%Y-%m-%d %H:%M %Z}, has come"
    paid = begun(trials)
    if budget.trials is not None and len(paid) >= budget.trials:
        return f"{len(paid)} of {budget.trials} trials are done or running"
    if budget.hours is not None and (hours := hours_of(paid)) >= budget.hours:
        return f"{hours:.2f} of {budget.hours:g} hours are spent"
    return None


def begun(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that a budget pays for: not those queued, imported, or withdrawn because they were queued twice."""
    return [
        trial
        for trial in trials
        if trial.state != TrialState.WAITING
        and IMPORTED not in trial.user_attrs
        and trial.user_attrs.get(REASON) != TWICE
    ]


def hours_of(trials: Sequence[FrozenTrial]) -> float:
    """Hours of training, as the workers that did it measured them; of running trials up to their last epoch."""
    return sum(float(trial.user_attrs.get("seconds", 0.0)) for trial in trials) / 3600.0
