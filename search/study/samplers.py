"""Builds samplers and pruners from a spec; what a trial is given depends on the study and its number alone."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.studyfile.spec import StudySpec


class PerTrialSampler(BaseSampler):
    """A fresh sampler for every trial, seeded from the base seed and the trial's number.

    A sampler's own random state would depend on which trials this process happened to ask before. Seeded so, a
    study of one worker repeats itself even when that worker was stopped and started again, and no two workers
    walk the same random numbers.
    """

    def __init__(self, build: Callable[[int], BaseSampler], seed: int) -> None:
        self._build = build
        self._seed = seed
        self._number = -1
        self._sampler = build(seed)

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number != self._number:
            self._number = trial.number
            self._sampler = self._build(trial_stream(self._seed, trial.number))
        return self._sampler

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._of(trial).before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._of(trial).after_trial(study, trial, state, values)


def trial_stream(seed: int, number: int) -> int:
    """A 32-bit seed for trial `number`; unlike seed + number, neighbouring studies do not share streams."""
    return (seed * 0x9E3779B1 + number * 0x85EBCA77 + 0x27D4EB2F) % 2**32


def build_sampler(spec: StudySpec, seed: int | None = None) -> BaseSampler:
    """The study's sampler. `seed` replaces the spec's base seed."""
    startup = spec.sampler.startup_trials
    build: dict[str, Callable[[int], BaseSampler]] = {
        "tpe": lambda stream: _tpe(stream, startup),
        "random": lambda stream: RandomSampler(seed=stream),
        "gp": lambda stream: _gp(stream, startup),
    }
    return PerTrialSampler(build[spec.sampler.name], spec.seed if seed is None else seed)


def build_pruner(spec: StudySpec) -> optuna.pruners.BasePruner:
    """The study's pruner.

    A run is compared, at the epoch it has reached, with the finished runs that got as far; half of
    `startup_trials` of them must have, since early-stopped runs leave the late epochs thin. With `patience`, a
    run that still improves is never pruned.
    """
    terms = spec.pruner
    if terms.name == "none":
        return optuna.pruners.NopPruner()
    pruner: optuna.pruners.BasePruner = optuna.pruners.PercentilePruner(
        50.0 if terms.percentile is None else terms.percentile,
        n_startup_trials=terms.startup_trials,
        n_warmup_steps=terms.warmup_epochs,
        n_min_trials=max(1, terms.startup_trials // 2),
    )
    if not terms.patience:
        return pruner
    return _quietly(lambda: optuna.pruners.PatientPruner(pruner, terms.patience))


def _quietly(build: Callable[[], Any]) -> Any:
    """Build without the warning that says experimental of what has been in use for years."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return build()


def _tpe(stream: int, startup: int) -> BaseSampler:
    # `group` learns each branch of a conditional space on its own
    return _quietly(
        lambda: TPESampler(seed=stream, n_startup_trials=startup, multivariate=True, group=True, constant_liar=True)
    )


def _gp(stream: int, startup: int) -> BaseSampler:
    return _quietly(lambda: GPSampler(seed=stream, n_startup_trials=startup, warn_independent_sampling=False))
