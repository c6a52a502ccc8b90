"""Where a running study stands: trials of its budget, the best run so far, and when the budget ends at this speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import TYPE_CHECKING, Any

from optuna.trial import FixedTrial, FrozenTrial, TrialState

from lobmodels.errors import ConfigError
from search.study.budget import begun, hours_of
from search.study.record import CONFIGURATION, seconds_of, state_of
from search.study.runs import is_ours
from search.study.words import brief
from search.studyfile.space import suggest
from search.studyfile.spec import StudySpec
from search.studyfile.terms import BudgetSpec

if TYPE_CHECKING:
    from search.study.plan import EnsemblePlan

RECENT = 20  # ended trials whose length says how long one takes


@dataclass(frozen=True)
class Outlook:
    """`seconds_left` is the time until the budget is spent, with as many runs at once as now; None if not known, as
    while replicates are trained."""

    begun: int
    limit: int | None  # of trials
    running: int  # trials at this moment, replicates included
    best: float | None  # score of the best complete trial on the selection sequences
    best_trial: int | None
    words: str  # its configuration in a few words
    seconds_left: float | None

    def line(self) -> str:
        """`trial 7 of 24, 3 running, about 2 h 10 min to the end of the budget`."""
        trials = f"{self.begun} trials" if self.limit is None else f"trial {self.begun} of {self.limit}"
        left = "" if self.seconds_left is None else f", about {duration(self.seconds_left)} to the end of the budget"
        return f"{trials}, {self.running} running{left}"

    def best_line(self) -> str:
        """`0.2689, trial 3: gru 3x64, mse, lr 0.001`, or that there is none."""
        return "none yet" if self.best is None else f"{self.best:.4f}, trial {self.best_trial}: {self.words}"


def outlook_of(
    spec: StudySpec,
    trials: Sequence[FrozenTrial],
    running: int,
    now: datetime | None = None,
    *,
    replicates: Sequence[FrozenTrial] = (),
    plan: EnsemblePlan | None = None,
) -> Outlook:
    """The outlook of a study with these trials and `replicates`, while so many of both run. Under a plan replicates
    count as trials of the budget."""
    paid = begun(trials)
    if plan is not None:
        paid = [trial for trial in (*paid, *begun(replicates)) if state_of(trial) != "withdrawn"]
    finished = [t for t in trials if is_ours(t) and t.state == TrialState.COMPLETE and state_of(t) == "complete"]
    best = max(finished, key=lambda t: (t.values[0], -t.number), default=None)
    left = None if _repeats(plan, replicates) else _seconds_left(spec, plan, paid, running, now or datetime.now(UTC))
    if best is None:
        return Outlook(len(paid), spec.budget.trials, running, None, None, "", left)
    words = brief(_configuration(spec, best))
    return Outlook(len(paid), spec.budget.trials, running, float(best.values[0]), best.number, words, left)


def _repeats(plan: EnsemblePlan | None, replicates: Sequence[FrozenTrial]) -> bool:
    """Whether replicates take the workers' time. The trials of the search do not tell for how long: those of a plan end
    where the ensemble gains nothing more, others are in no budget."""
    if plan is not None:
        return bool(plan.chosen or plan.ended)
    return any(trial.state in (TrialState.RUNNING, TrialState.WAITING) for trial in replicates)


def _seconds_left(
    spec: StudySpec, plan: EnsemblePlan | None, paid: Sequence[FrozenTrial], running: int, now: datetime
) -> float | None:
    """Until the first of the budget's limits; running trials are counted with what they have done so far."""
    budget = spec.budget
    left = [] if budget.until is None else [(budget.until - now).total_seconds()]
    ended = [t for t in paid if t.state.is_finished() and seconds_of(t) > 0]
    unfinished = [t for t in paid if not t.state.is_finished()]
    if running and budget.hours is not None:
        left.append((budget.hours - hours_of(paid)) * 3600 / running)
    if running and budget.trials is not None and ended:
        recent = sorted(ended, key=lambda t: t.datetime_complete or datetime.min)[-RECENT:]
        each = fmean(seconds_of(t) for t in recent)
        done = sum(min(seconds_of(t), each) for t in unfinished)
        longer = _longer_replicates(budget, plan, recent, each)
        left.append(((budget.trials - len(paid) + len(unfinished)) * each + longer - done) / running)
    return max(min(left), 0.0) if left else None


def _longer_replicates(
    budget: BudgetSpec, plan: EnsemblePlan | None, recent: Sequence[FrozenTrial], each: float
) -> float:
    """Seconds by which a plan's replicates, which no pruner ends, take longer than as many `recent` trials."""
    complete = [seconds_of(trial) for trial in recent if trial.state == TrialState.COMPLETE]
    searched = None if plan is None else plan.search_budget(budget).trials
    if searched is None or budget.trials is None or not complete:
        return 0.0
    return (budget.trials - searched) * (fmean(complete) - each)


def _configuration(spec: StudySpec, trial: FrozenTrial) -> Mapping[str, Any]:
    """What was recorded, or what the parameters mean: a worker reads other workers' trials in part."""
    recorded = trial.user_attrs.get(CONFIGURATION)
    if isinstance(recorded, dict):
        return recorded
    try:
        return suggest(spec, FixedTrial(trial.params)).active()
    except (ConfigError, ValueError):  # of an older revision, or another program's
        return trial.params


def duration(seconds: float) -> str:
    """`3 d 4 h`, `2 h 10 min`, `12 min` or `40 s`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 2880:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
