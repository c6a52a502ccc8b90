"""A configuration that was run before is not run again as new: it becomes a replicate of that run.

A search over few choices comes back to its best configuration again and again. Run as new, it would be ranked by its
luckiest seed, and its seeds would look like so many configurations.
"""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from lobmodels.errors import ConfigError
from search.study.open import load_study
from search.study.record import DUPLICATE, KEY, SEED, read_trial
from search.study.replication import find_replicates, replicate
from search.study.runs import run_of
from search.studyfile.space import suggest
from search.studyfile.spec import StudySpec
from storage.claims import REASON

DRAWS = 5  # new draws after which a configuration is run again all the same: the space may have no other
KNOWN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


def ask_unrepeated(study: optuna.Study, spec: StudySpec) -> optuna.Trial:
    """`study.ask()`, but for a configuration that no other trial has run.

    One that is complete already is queued once more under another seed in the study of replicates; then, as for one
    that is running or was pruned, another configuration is drawn. A queued trial (a baseline, a retried one) is
    returned as it is. Where `DRAWS` draws in a row were known, the last one is returned: it trains with a seed of its
    own.
    """
    queued = False
    for _ in range(DRAWS):
        trial = study.ask()
        known = _known(study, spec, trial)
        if known is None:
            return trial
        complete = next((other for other in known if other.state == TrialState.COMPLETE), None)
        trial.set_user_attr(REASON, DUPLICATE)
        study.tell(trial, state=TrialState.FAIL)
        if complete is not None and not queued:
            queue_replicate(study, complete)
            queued = True
    return study.ask()


def queue_replicate(study: optuna.Study, complete: FrozenTrial) -> None:
    """Queue one more seed of a complete trial's configuration, after those that are there or failed."""
    run = run_of(read_trial(study.study_name, complete))
    if run is None:  # not recorded by lobtuna: there is nothing to repeat
        return
    stored = load_study(study._storage, study.study_name)
    target = find_replicates(stored)
    trials = [] if target is None else target.get_trials(deepcopy=False)
    present = {trial.user_attrs.get(SEED) for trial in trials if trial.user_attrs.get(KEY) == run.key}
    replicate(stored, [run], seeds=len(present) + 2)


def _known(study: optuna.Study, spec: StudySpec, trial: optuna.Trial) -> Sequence[FrozenTrial] | None:
    """Other trials with the configuration of a trial that the sampler drew; None where there are none."""
    trials = study.get_trials(deepcopy=False)
    own = next(other for other in trials if other.number == trial.number)
    if own.user_attrs.get(KEY) or own.system_attrs.get("fixed_params"):
        return None
    try:
        key = suggest(spec, trial).key()
    except ConfigError:
        return None  # the trial itself fails with the reason
    found = [t for t in trials if t.number != trial.number and t.state in KNOWN and t.user_attrs.get(KEY) == key]
    return found or None
