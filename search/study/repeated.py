"""A configuration that ran before is not run again as new: it is repeated under another seed, and another is drawn."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from search.study.record import DIVERGED, FAILURE, KEY, MEMORY, REDRAWN, REPEATED
from storage.claims import REASON

MOST = 4  # replicates of one configuration that come of its being drawn again
AT_RANDOM = 5  # after so many such draws in a row the next ones are made at random
EXHAUSTED = 20  # after so many in a row the space is taken as used up, and the study ends
AGAIN = (REPEATED, REDRAWN)


def ran_before(trials: Sequence[FrozenTrial], key: str, number: int) -> FrozenTrial | None:
    """The trial that makes a draw of the configuration `key`, by trial `number`, a repetition; None where it is new.

    A complete trial if there is one, else one that waits, runs, was pruned, diverged or found no memory. One that
    failed otherwise says nothing about its configuration.
    """
    same = [t for t in trials if t.number != number and t.user_attrs.get(KEY) == key and _counts(t)]
    return min(same, key=lambda t: (t.state != TrialState.COMPLETE, t.number), default=None)


def repeats_in_a_row(trials: Sequence[FrozenTrial]) -> int:
    """How many of the last draws, without interruption, were of configurations that had run before."""
    count = 0
    for trial in reversed(trials):
        if trial.user_attrs.get(REASON) in AGAIN:
            count += 1
        elif trial.state != TrialState.RUNNING:  # a running one may turn out to be another
            break
    return count


def _counts(trial: FrozenTrial) -> bool:
    if trial.state == TrialState.FAIL:
        return trial.user_attrs.get(FAILURE) in (DIVERGED, MEMORY)
    return True
