"""One further replicate of a configuration: in the place of a draw that would repeat it, or as a plan asks."""

from __future__ import annotations

from collections.abc import Hashable

import optuna
from optuna.trial import FrozenTrial

from search.study.create import withdraw_duplicates
from search.study.open import spec_of
from search.study.record import DRAW, is_duplicate
from search.study.replication import enqueue_replicate, identity, next_cell, open_replicates, replicate_states
from search.study.runs import finished_runs


def repeat(study: optuna.Study, number: int, most: int, draw: int | None = None) -> bool:
    """Queue one more replicate of trial `number`; False where there are `most`, or it is not complete.

    `draw` is the trial in whose place the replicate runs: two draws at the same moment get two replicates, while two
    calls without it get one.
    """
    run = next((run for run in finished_runs(study) if run.number == number), None)
    target, spec = open_replicates(study), spec_of(study)
    while run is not None:
        states = replicate_states(target)
        if sum(key == run.key for key, *_ in states) >= most:
            return False
        enqueue_replicate(target, spec, run, next_cell(spec, states, run.key), draw)
        withdraw_duplicates(target, identity)
        if draw is None or _has_replicate(target, draw):
            return True
    return False


def _has_replicate(target: optuna.Study, draw: int) -> bool:
    """Whether a replicate in the place of `draw` stays: the first of its seed, even if another worker is about to
    withdraw the later ones."""
    first: dict[Hashable, FrozenTrial] = {}
    for trial in target.get_trials(deepcopy=False):
        if not is_duplicate(trial):
            first.setdefault(identity(trial), trial)
    return any(trial.user_attrs.get(DRAW) == draw for trial in first.values())
