"""Successive halving that is fair to slow schedules and, where hours are the budget, to the price of an epoch.

After 1, 4, 16, ... epochs a run goes on if its best score so far is among the best quarter of all runs that got as far,
pruned ones included (asynchronous successive halving; Li et al. 2018, arXiv:1810.05934). Two things are added:

- Schedules that depend on the planned length (cosine, onecycle) start low and rise late. In the first half of its
  plan a run is therefore compared only with runs of the same schedule.
- With a budget of hours, the share that passes is divided by the price of the run's epochs: attention at three times
  the cost of the others must be among the best twelfth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from lobmodels.config import RunConfig
from search.study.record import BASELINE, DEVICE, epochs_of, reports_of, seconds_of
from search.studyfile.parameters import Fixed
from search.studyfile.spec import StudySpec

FACTOR = 4  # between the rungs, in epochs, and of the runs that reach one to those that pass it
SHARES = (1 / 32, 1 / 2)  # the least and the most that pass, whatever an epoch costs
REPORTING = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


def build_halving(spec: StudySpec) -> HalvingPruner:
    """The pruner of a study whose file says `pruner: {name: halving}`."""
    epochs = spec.parameters.get("epochs") or Fixed(value=RunConfig.model_fields["epochs"].default)
    return HalvingPruner(
        planned=max(epochs.values() or (1,)),
        first=spec.pruner.warmup_epochs + 1,
        by_seconds=spec.budget.hours is not None,
    )


class HalvingPruner(BasePruner):
    """Stateless: the decision follows from the trials of the study. Baselines are never pruned.

    `planned` is the most epochs a trial can have, `first` the epochs after which a run is judged for the first time.
    """

    def __init__(self, *, planned: int, first: int, by_seconds: bool) -> None:
        self._planned, self._by_seconds = planned, by_seconds
        self.rungs = tuple(first * FACTOR**i for i in range(12) if first * FACTOR**i < planned)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        rung = len(trial.intermediate_values)
        planned = int(trial.params.get("epochs", self._planned))
        if rung not in self.rungs or rung >= planned or BASELINE in trial.user_attrs:
            return False
        trials = study.get_trials(deepcopy=False, states=REPORTING)
        reached = [t for t in trials if t.number != trial.number and len(reports_of(t)) >= rung]
        rivals = [t for t in reached if _same_schedule(t, trial)] if 2 * rung < planned else reached
        others = np.array([best_until(t, rung) for t in rivals])
        passing = max(1, int((len(others) + 1) * self._share(reached, trial, rung)))
        own = best_until(trial, rung)
        return not math.isfinite(own) or int(np.sum(others > own)) >= passing

    def _share(self, reached: Sequence[FrozenTrial], trial: FrozenTrial, rung: int) -> float:
        """The share of runs that pass: a quarter, divided by the price of an epoch where seconds count."""
        price = relative_price(reached, trial, rung) if self._by_seconds else 1.0
        return float(np.clip(1 / (FACTOR * price), *SHARES))


def best_until(trial: FrozenTrial, epochs: int) -> float:
    """Best score within the first `epochs` epochs; minus infinity where none is a number."""
    values = [value for step, value in reports_of(trial).items() if step < epochs]
    return max((value for value in values if math.isfinite(value)), default=-math.inf)


def relative_price(others: Sequence[FrozenTrial], trial: FrozenTrial, epochs: int) -> float:
    """Seconds of one of the trial's epochs in units of the median on the same device; 1 where that is unknown."""
    same = [t for t in others if t.user_attrs.get(DEVICE) == trial.user_attrs.get(DEVICE)]
    usual = [seconds_of(t) / epochs_of(t) for t in same if seconds_of(t) > 0]
    own = seconds_of(trial) / epochs
    return own / float(np.median(usual)) if usual and own > 0 else 1.0


def _same_schedule(one: FrozenTrial, other: FrozenTrial) -> bool:
    return one.params.get("scheduler") == other.params.get("scheduler")
