"""The searches that are compared: each a sampler and a pruner, built anew for every study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from search.study.pruners import build_pruner
from search.study.quiet import without_experimental_warning
from search.study.samplers import PerTrialSampler, build_sampler
from search.studyfile.spec import StudySpec
from search.studyfile.terms import PrunerSpec, SamplerSpec

TEACHES = "teaches"  # study attribute: whether diverged runs are told as pruned at the worst score, or only as failed


@dataclass(frozen=True)
class Arm:
    """`sampler` and `pruner` take the study's spec. `teaches`: a diverged run is told as a lobtuna worker tells it."""

    sampler: Callable[[StudySpec], BaseSampler]
    pruner: Callable[[StudySpec], BasePruner]
    teaches: bool = False

    def study(self, spec: StudySpec) -> optuna.Study:
        """A fresh study in memory."""
        with without_experimental_warning():
            sampler, pruner = self.sampler(spec), self.pruner(spec)
        study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        study.set_user_attr(TEACHES, self.teaches)
        return study


def _tpe(spec: StudySpec) -> BaseSampler:
    return TPESampler(seed=spec.seed)


def _before_sampler(spec: StudySpec) -> BaseSampler:
    return TPESampler(seed=spec.seed, n_startup_trials=10, multivariate=True, group=True, constant_liar=True)


def _before_pruner(spec: StudySpec) -> BasePruner:
    return PatientPruner(MedianPruner(8, 10, n_min_trials=4), 2)


def _hyperband(spec: StudySpec) -> BasePruner:
    return HyperbandPruner(min_resource=4, max_resource=_epochs(spec), reduction_factor=3)


def _ours(spec: StudySpec) -> StudySpec:
    pruner = PrunerSpec.model_validate({"name": "halving"})
    return spec.model_copy(update={"sampler": SamplerSpec(), "pruner": pruner})


class HalfAtRandom(PerTrialSampler):
    """A study's sampler that leaves every second trial to chance."""

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if trial.number % 2:
            self._draw_at_random(trial)
        self._of(trial).before_trial(study, trial)


def half_at_random(spec: StudySpec) -> BaseSampler:
    """lobtuna's sampler, half at random."""
    whole = build_sampler(_ours(spec))
    assert isinstance(whole, PerTrialSampler)
    return HalfAtRandom(whole._build, whole._seed)


def _epochs(spec: StudySpec) -> int:
    return int((spec.parameters["epochs"].values() or (1,))[0])


ARMS = {
    "random": Arm(lambda spec: RandomSampler(seed=spec.seed), lambda spec: NopPruner()),
    "tpe": Arm(_tpe, lambda spec: NopPruner()),
    "tpe+median": Arm(_tpe, lambda spec: MedianPruner()),
    "tpe+halving": Arm(_tpe, lambda spec: SuccessiveHalvingPruner(min_resource=4, reduction_factor=3)),
    "tpe+halving1": Arm(_tpe, lambda spec: SuccessiveHalvingPruner()),
    "tpe+hyperband": Arm(_tpe, _hyperband),
    "before": Arm(_before_sampler, _before_pruner),
    "ours": Arm(lambda spec: build_sampler(_ours(spec)), lambda spec: build_pruner(_ours(spec)), teaches=True),
}
