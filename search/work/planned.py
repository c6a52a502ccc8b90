"""Follows a study's plan for one worker: queues what comes next when the worker finds nothing to do."""

from __future__ import annotations

from enum import Enum

import optuna
import torch
from optuna.storages import BaseStorage

from lobmodels.data import Dataset
from search.ship.gains import Predictions, next_run
from search.study.further import repeat
from search.study.open import load_study
from search.study.plan import (
    EnsemblePlan,
    attempts,
    choose_repeated,
    chosen_runs,
    describe_plan,
    finish,
    phase_of,
    queue_first,
    runs_left,
    searches,
    under_way,
)
from search.work.events import Emit, Event
from storage.optuna_internals import study_id_of

NO_LIMIT = 10**6  # replicates of one configuration: the plan's own number of runs is the limit


class Step(Enum):
    """What a worker does next: take what was queued, wait for trials that run elsewhere, or leave."""

    TAKE, WAIT, LEAVE = "take", "wait", "leave"


class PlanFollower:
    """Follows the plan of study `name` for one worker. `waits`: whether trials elsewhere must end before it goes on."""

    def __init__(self, storage: BaseStorage, name: str, dataset: Dataset, device: torch.device, emit: Emit) -> None:
        self.storage, self.name, self.emit = storage, name, emit
        self.predictions = Predictions(dataset.valid, str(device))
        self.waits = False
        self._phase = ""  # as it was last shown

    def go_on(self) -> bool:
        """Queue what comes next; False where nothing was queued. A new phase is shown in a line."""
        study = load_study(self.storage, self.name)
        step = _step(study, self.predictions)
        self.waits = step == Step.WAIT
        plan = EnsemblePlan.of(self.storage.get_study_user_attrs(study_id_of(study)))
        said = "" if plan is None else describe_plan(plan, attempts(study))
        if said.partition(",")[0] != self._phase:
            self._phase = said.partition(",")[0]
            self.emit(Event("note", self.name, text=f"plan: {said}"))
        return step == Step.TAKE


def _step(study: optuna.Study, predictions: Predictions) -> Step:
    """Queue what the plan asks for, now that the search's share of the budget is spent.

    Every worker without work calls this. Of equal replicates that two queue at the same moment one is withdrawn.
    """
    replicates = attempts(study)  # before the plan: `choose_repeated` says why
    plan = EnsemblePlan.of(study.user_attrs)
    if plan is None or plan.ended:
        return Step.LEAVE
    if not plan.chosen:
        if searches(study, plan):
            return Step.WAIT
        plan = choose_repeated(study, plan, replicates)
    if plan.ended:
        return Step.LEAVE
    return Step.TAKE if queue_first(study, plan) else _one_more(study, plan, predictions)


def _one_more(study: optuna.Study, plan: EnsemblePlan, predictions: Predictions) -> Step:
    """Queue a further seed where the ensemble gains most; end the plan where there is none, and none under way."""
    replicates = attempts(study)
    running = under_way(replicates)
    if running and phase_of(plan, replicates) == "replicates":
        return Step.WAIT
    if not runs_left(study, chosen_runs(study, plan), replicates):
        why = "the budget is spent"
    elif (run := next_run(study, plan, predictions)) is not None:
        repeat(study, run.number, NO_LIMIT)
        return Step.TAKE
    else:
        why = "no further seed would make the ensemble better"
    if running:
        return Step.WAIT
    finish(study, plan, why)
    return Step.LEAVE
