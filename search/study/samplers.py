"""Builds the sampler that a study file names; its suggestions depend only on the study and the trial's number.

To add one: write a function of the spec and a 32-bit seed, here or in a file of its own, name it in `SAMPLERS`, and add
the name to `SamplerSpec.name`. A test compares the two lists and asks every choice for trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.errors import SearchError
from search.study.quiet import without_experimental_warning
from search.studyfile.spec import StudySpec


def build_sampler(spec: StudySpec, seed: int | None = None) -> BaseSampler:
    """The study's sampler. `seed` replaces the spec's base seed. Raises `SearchError` for an unregistered name."""
    if spec.sampler.name not in SAMPLERS:
        raise SearchError(
            f"sampler {spec.sampler.name!r} is not known to this lobtuna: known are {', '.join(SAMPLERS)}"
        )
    build = SAMPLERS[spec.sampler.name]
    return PerTrialSampler(lambda stream: build(spec, stream), spec.seed if seed is None else seed)


class PerTrialSampler(BaseSampler):
    """A fresh sampler for every trial, seeded from the base seed and the trial's number.

    A sampler's own random state would depend on which trials this process has asked before. With a seed for each trial,
    a study of one worker is repeatable even if the worker is restarted, and two workers never draw the same numbers.
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


def _tpe(spec: StudySpec, seed: int) -> BaseSampler:
    startup = spec.sampler.startup_trials
    with without_experimental_warning():  # `group` models each branch of a conditional space separately
        return TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, group=True, constant_liar=True)


def _random(spec: StudySpec, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _gp(spec: StudySpec, seed: int) -> BaseSampler:
    with without_experimental_warning():
        return GPSampler(seed=seed, n_startup_trials=spec.sampler.startup_trials, warn_independent_sampling=False)


SAMPLERS: dict[str, Callable[[StudySpec, int], BaseSampler]] = {
    "tpe": _tpe,
    "random": _random,
    "gp": _gp,
}
