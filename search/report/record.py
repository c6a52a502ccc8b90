"""A study as its report reads it: definition, trials, replicates and ranking, read at one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from lobmodels.schema import Schema
from search.study.open import schema_of, spec_of
from search.study.plan import EnsemblePlan
from search.study.ranking import Ranking
from search.study.record import FINGERPRINT, REVISION_OF, TrialRecord, read_trial
from search.study.reference import Reference, References
from search.study.replication import find_replicates, rank_study
from search.study.resampling import stored_sums
from search.studyfile.parameters import Fixed, Parameter
from search.studyfile.spec import StudySpec

Sums = Mapping[str, NDArray[np.float64]]  # by part of validation: (N, 6, targets), as `lobmodels.bootstrap` has them
Trial = TrialRecord  # what the figures of a report are drawn from


@dataclass(frozen=True)
class Study:
    """A study with its replicates, as read at one moment."""

    name: str
    spec: StudySpec
    fingerprint: str | None
    schema: Schema  # of its data
    previous: str | None  # the revision before this one
    trials: tuple[Trial, ...]
    replicates: tuple[Trial, ...]
    ranking: Ranking
    ridge: Reference | None = None  # a ridge regression on the study's sequences
    ensemble: Reference | None = None  # the ensemble that was scored last
    sums: Mapping[str, Sums] = field(default_factory=dict)  # of the first configuration's runs, by name
    plan: EnsemblePlan | None = None  # that divides the budget between search and replicates

    def of(self, *states: str) -> list[Trial]:
        """Search trials in these states, by number."""
        return [trial for trial in self.trials if trial.state in states]

    @cached_property
    def finished(self) -> list[Trial]:
        """Complete search trials with a value; not those that a user's own script added."""
        return [trial for trial in self.of("complete") if trial.value is not None and trial.configured]

    @cached_property
    def scored(self) -> list[Trial]:
        """Complete and pruned search trials with a value; not those that a user's own script added."""
        return [t for t in self.of("complete", "pruned") if t.value is not None and t.configured]

    @cached_property
    def best(self) -> Trial | None:
        """The complete search trial with the highest value."""
        return max(self.finished, key=lambda trial: (trial.value, -trial.number), default=None)

    @cached_property
    def searched(self) -> dict[str, Parameter]:
        """Parameters that differ between trials."""
        return {name: p for name, p in self.spec.parameters.items() if not isinstance(p, Fixed)}

    @property
    def complete(self) -> int:
        """Complete runs, replicates included."""
        return sum(trial.state == "complete" for trial in (*self.trials, *self.replicates))

    @property
    def report_fraction(self) -> float:
        """Share of the validation sequences that no decision has seen."""
        return self.spec.validation.report_fraction

    @cached_property
    def time_unit(self) -> str:
        """`GPU hours`, unless something was trained on a CPU."""
        devices = {trial.device for trial in (*self.trials, *self.replicates) if trial.device}
        return "hours of work" if "cpu" in devices or not devices else "GPU hours"

    def duration(self, spent: float) -> str:
        """`spent` hours in the study's unit, in minutes where hours would round to nothing."""
        if spent >= 0.95:
            return f"{spent:,.1f} {self.time_unit}"
        minutes = round(60 * spent)
        unit = self.time_unit.replace("hours", "minutes" if minutes != 1 else "minute")
        return f"{minutes} {unit}"


def read_study(study: optuna.Study, references: References | None = None) -> Study:
    """Read a study and its replicates; `references` in the place of those that are stored with it. Raises `SearchError`
    where lobtuna did not create it."""
    seeds = find_replicates(study)
    trials, replicates = _trials(study), () if seeds is None else _trials(seeds)
    ranking = rank_study(study)
    references = references or References.read(study.user_attrs)
    studies = {part.study_name: part for part in (study, seeds) if part is not None}
    return Study(
        name=study.study_name,
        spec=spec_of(study),
        fingerprint=study.user_attrs.get(FINGERPRINT),
        schema=schema_of(study),
        previous=study.user_attrs.get(REVISION_OF),
        trials=trials,
        replicates=replicates,
        ranking=ranking,
        ridge=references.ridge,
        ensemble=references.ensemble,
        sums=_sums(studies, ranking),
        plan=EnsemblePlan.of(study.user_attrs),
    )


def _sums(studies: Mapping[str, optuna.Study], ranking: Ranking) -> dict[str, Sums]:
    runs = ranking.rows[0].runs if ranking.rows else ()
    parts = {part: stored_sums(studies, runs, part) for part in ("select", "report")}
    return {run.name: {part: found[run.name] for part, found in parts.items() if run.name in found} for run in runs}


def _trials(study: optuna.Study) -> tuple[Trial, ...]:
    return tuple(read_trial(study.study_name, trial) for trial in study.get_trials(deepcopy=False))


def hours(trials: Iterable[Trial]) -> float:
    """Hours of training these trials took; imported ones were paid for by another study."""
    return sum(trial.seconds for trial in trials if trial.imported is None) / 3600


def ordered(trials: Sequence[Trial], key: Callable[[Trial], Any]) -> list[Trial]:
    """Trials by `key`, those where it is None left out."""
    return sorted((t for t in trials if key(t) is not None), key=key)
