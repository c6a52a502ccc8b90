"""Optuna's TPE with balanced first draws, so that a choice of two is tried both ways before anything is learned."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.study.balanced import BalancedSampler

LEARNED = (TrialState.COMPLETE, TrialState.PRUNED)  # diverged runs too: they are reported as pruned at the worst value


class LearningSampler(BaseSampler):
    """Balanced draws until `startup` trials have ended, then TPE. Built anew for every trial."""

    def __init__(self, tpe: TPESampler, seed: int, startup: int) -> None:
        self._tpe, self._first, self._startup = tpe, BalancedSampler(seed), startup
        self._ready = False

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._ready = len(study.get_trials(deepcopy=False, states=LEARNED)) >= self._startup
        return self._tpe.infer_relative_search_space(study, trial) if self._ready else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._tpe.sample_relative(study, trial, search_space) if self._ready else {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        sampler = self._tpe if self._ready else self._first
        return sampler.sample_independent(study, trial, param_name, param_distribution)
