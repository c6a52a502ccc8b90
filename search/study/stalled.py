"""Whether a study still gets better: what its last trials have added to the best score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from search.study.record import WORST, seconds_of
from search.study.runs import is_ours
from search.studyfile.terms import StalledSpec

SUGGEST_AFTER = 30  # trials without a better one, and at least as many as there were before


@dataclass(frozen=True)
class Standstill:
    """The trial that was the last to be better, and what has been spent since: ended trials and their hours."""

    best: int
    value: float
    trials: int
    hours: float
    gain: float

    def words(self) -> str:
        """For a message: since when nothing was better."""
        return (
            f"none of the last {self.trials} trials ({self.hours:.2f} hours) was better by {self.gain:g} than trial "
            f"{self.best} with {self.value:.4f}"
        )


def standstill(trials: Sequence[FrozenTrial], gain: float) -> Standstill | None:
    """What was spent since a trial was last better than all before it by `gain`; None before the first complete one.

    Small gains add up: a trial is compared with the last one that counted as better, not with the best of all.
    """
    best: FrozenTrial | None = None
    for trial in sorted(_ended(trials), key=lambda t: t.number):
        complete = trial.state == TrialState.COMPLETE and (trial.value or 0.0) > WORST
        if complete and (best is None or (trial.value or 0.0) >= (best.value or 0.0) + gain):
            best = trial
    if best is None:
        return None
    since = [t for t in _ended(trials) if t.number > best.number]
    return Standstill(best.number, float(best.value or 0.0), len(since), sum(map(seconds_of, since)) / 3600.0, gain)


def stalled(terms: StalledSpec, trials: Sequence[FrozenTrial]) -> str | None:
    """Why the study has stalled by its own `budget: {stalled: ...}`, or None."""
    found = standstill(trials, terms.gain)
    if found is None:
        return None
    too_many = terms.trials is not None and found.trials >= terms.trials
    too_long = terms.hours is not None and found.hours >= terms.hours
    return f"it has stalled: {found.words()}" if too_many or too_long else None


def suggestion(trials: Sequence[FrozenTrial], gain: float = StalledSpec.model_fields["gain"].default) -> str | None:
    """What to tell the user of a study that does not end by itself when it stalls; None while it still gets better."""
    found = standstill(trials, gain)
    before = 0 if found is None else len(_ended(trials)) - found.trials
    if found is None or found.trials < max(SUGGEST_AFTER, before):
        return None
    return f"{found.words()}: more seeds of the best may gain more than more trials"


def _ended(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Trials of ours that ran to an end of any kind."""
    ended = [trial for trial in trials if is_ours(trial) and trial.state.is_finished()]
    return [trial for trial in ended if trial.intermediate_values or trial.state == TrialState.COMPLETE]
