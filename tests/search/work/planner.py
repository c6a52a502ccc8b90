"""Replicates in a study under attack: queued by a user beside the workers, who go on by a plan of elimination."""

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.study.open import SEEDS
from search.study.orders import Plan
from search.study.record import PLAN, is_duplicate
from search.study.replication import choose, find_replicates, identity, replicate, store_plan
from storage.backends.registry import open_storage
from tests.machines import trials

CONFIGURATIONS, SEEDS_EACH, RUNS = 3, 2, 9


def plan_replicates(url: str, name: str) -> bool:
    """Queue replicates of the last complete trials of study `name`, and store a plan for more. False while an earlier
    plan goes on, or too few are complete."""
    study = optuna.load_study(study_name=name, storage=open_storage(url, patience=2.0))
    target = find_replicates(study)
    open_states = (TrialState.WAITING, TrialState.RUNNING)
    if target is not None and (target.user_attrs.get(PLAN) or target.get_trials(deepcopy=False, states=open_states)):
        return False
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < CONFIGURATIONS:
        return False
    chosen = choose(study, numbers=[trial.number for trial in complete[-CONFIGURATIONS:]])
    replicate(study, chosen, seeds=SEEDS_EACH)
    store_plan(study, Plan(tuple(run.key for run in chosen), RUNS))
    return True


def replicates(url: str, name: str) -> list[FrozenTrial]:
    """All trials of the study's replicates; none where there is no such study."""
    names = {study.study_name for study in open_storage(url).get_all_studies()}
    return trials(url, name + SEEDS) if name + SEEDS in names else []


def complete_replicates(url: str, name: str) -> list[FrozenTrial]:
    """The replicates that ran. Asserts that all others were withdrawn as queued twice, and that none ran twice."""
    found = replicates(url, name)
    ran = [trial for trial in found if not is_duplicate(trial)]
    assert {trial.state for trial in ran} <= {TrialState.COMPLETE}, [(t.number, t.state.name) for t in ran]
    assert {trial.state for trial in found if is_duplicate(trial)} <= {TrialState.FAIL}
    same = [identity(trial) for trial in ran]
    assert len(same) == len(set(same)), sorted(same)
    return ran
