"""Builds the sampler that a study file names; its suggestions depend only on the study and the trial's number.

To add one: write a function of the spec and a `Stream`, here or in a file of its own, name it in `SAMPLERS`, and add
the name to `SamplerSpec.name`. A test compares the two lists and asks every choice for trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.errors import SearchError
from search.study.balanced import BalancedSampler
from search.study.quiet import without_experimental_warning
from search.study.repeated import AT_RANDOM, repeats_in_a_row
from search.study.tpe import LearningSampler
from search.studyfile.conditions import conditions
from search.studyfile.parameters import FloatRange, IntRange
from search.studyfile.spec import StudySpec


def build_sampler(spec: StudySpec, seed: int | None = None) -> BaseSampler:
    """The study's sampler. `seed` replaces the spec's base seed. Raises `SearchError` for an unregistered name."""
    if spec.sampler.name not in SAMPLERS:
        raise SearchError(
            f"sampler {spec.sampler.name!r} is not known to this lobtuna: known are {', '.join(SAMPLERS)}"
        )
    build = SAMPLERS[spec.sampler.name]
    return PerTrialSampler(lambda stream: build(spec, stream), spec.seed if seed is None else seed)


@dataclass(frozen=True)
class Stream:
    """The random numbers of one trial: they follow from the study's base seed and the trial's number."""

    base: int
    number: int

    @property
    def seed(self) -> int:
        """32 bits that differ between neighbouring trials as between any others (numpy's `SeedSequence` mixes them)."""
        return int(np.random.SeedSequence([self.base, self.number]).generate_state(1)[0])


def sampler_note(spec: StudySpec) -> str | None:
    """What a user should know about the sampler of this space, in one line; None where there is nothing to say."""
    drawn = [name for name in spec.searched() if conditions(spec.parameters, name) or _has_extra(spec, name)]
    if spec.sampler.name != "gp" or not drawn:
        return None
    return (
        f"sampler gp learns {len(spec.searched()) - len(drawn)} of {len(spec.searched())} parameters; it draws those "
        f"that not every trial has at random: {', '.join(drawn)}; `tpe` learns all"
    )


def _has_extra(spec: StudySpec, name: str) -> bool:
    parameter = spec.parameters[name]
    return isinstance(parameter, (IntRange, FloatRange)) and bool(parameter.extra)


class PerTrialSampler(BaseSampler):
    """A fresh sampler for every trial, seeded from the base seed and the trial's number.

    A sampler's own random state would depend on which trials this process has asked before. With a seed for each trial,
    a study of one worker is repeatable even if the worker is restarted, and two workers never draw the same numbers.
    """

    def __init__(self, build: Callable[[Stream], BaseSampler], seed: int) -> None:
        self._build = build
        self._seed = seed
        self._number = -1
        self._sampler = build(Stream(seed, 0))

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number != self._number:
            self._number = trial.number
            self._sampler = self._build(Stream(self._seed, trial.number))
        return self._sampler

    def _draw_at_random(self, trial: FrozenTrial) -> None:
        """What the sampler has learned leads to configurations that ran before: leave it for this trial."""
        self._number, self._sampler = trial.number, BalancedSampler(self._seed)

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
        if repeats_in_a_row(study.get_trials(deepcopy=False)) >= AT_RANDOM:
            self._draw_at_random(trial)
        self._of(trial).before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._of(trial).after_trial(study, trial, state, values)


def _tpe(spec: StudySpec, stream: Stream) -> BaseSampler:
    startup = spec.sampler.startup_trials
    with without_experimental_warning():
        tpe = TPESampler(seed=stream.seed, n_startup_trials=startup, multivariate=True, group=False, constant_liar=True)
    return LearningSampler(tpe, stream.base, startup)


def _random(spec: StudySpec, stream: Stream) -> BaseSampler:
    return BalancedSampler(stream.base)


def _gp(spec: StudySpec, stream: Stream) -> BaseSampler:
    with without_experimental_warning():
        return GPSampler(
            seed=stream.seed,
            n_startup_trials=spec.sampler.startup_trials,
            independent_sampler=BalancedSampler(stream.base),
            warn_independent_sampling=False,
        )


SAMPLERS: dict[str, Callable[[StudySpec, Stream], BaseSampler]] = {
    "tpe": _tpe,
    "random": _random,
    "gp": _gp,
}
