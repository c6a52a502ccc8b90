"""Optuna's TPE with two additions: failed configurations repel it, and its first draws are balanced.

Optuna passes over failed trials. Where the best learning rates lie just below those that diverge, it then goes over the
edge again and again: nothing that it sees there is bad. Here a failed trial counts as pruned before its first epoch.
"""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.study.balanced import BalancedSampler
from search.study.record import is_duplicate
from storage.claims import LOSSES

LEARNED = (TrialState.COMPLETE, TrialState.PRUNED)


class SeenStudy(Study):
    """A study whose failed trials look pruned without a report, which is the worst there is to TPE."""

    def __init__(self, study: Study) -> None:
        self.__dict__.update(study.__dict__)  # the same storage, cache and directions; nothing is opened anew

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = super()._get_trials(deepcopy, None, use_cache)
        seen = [_as_pruned(trial) if failed_by_itself(trial) else trial for trial in trials]
        return [trial for trial in seen if states is None or trial.state in states]


class LearningSampler(BaseSampler):
    """Balanced draws until `startup` trials have ended, then TPE. Built anew for every trial."""

    def __init__(self, tpe: TPESampler, seed: int, startup: int) -> None:
        self._tpe, self._first, self._startup = tpe, BalancedSampler(seed), startup
        self._seen: SeenStudy | None = None
        self._ready = False

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._seen = SeenStudy(study)
        self._ready = len(self._seen._get_trials(deepcopy=False, states=LEARNED, use_cache=True)) >= self._startup
        return self._tpe.infer_relative_search_space(self._seen, trial) if self._ready else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not self._ready or self._seen is None:
            return {}
        return self._tpe.sample_relative(self._seen, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if not self._ready or self._seen is None:
            return self._first.sample_independent(study, trial, param_name, param_distribution)
        return self._tpe.sample_independent(self._seen, trial, param_name, param_distribution)


def failed_by_itself(trial: FrozenTrial) -> bool:
    """Whether a trial failed because of its configuration: it was not withdrawn, and no worker vanished from it."""
    return trial.state == TrialState.FAIL and not is_duplicate(trial) and not trial.system_attrs.get(LOSSES)


def _as_pruned(trial: FrozenTrial) -> FrozenTrial:
    seen = copy.copy(trial)
    seen.state, seen._values, seen.intermediate_values = TrialState.PRUNED, None, {}
    return seen
