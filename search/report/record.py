"""A study as its report reads it: every trial as plain values, whatever version or accident left it behind."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lobmodels.errors import ConfigError
from search.study.ranking import Ranking, rank_runs
from search.study.replication import find_replicates
from search.study.runs import IMPORTED, Run, run_of, spec_of
from search.studyfile.parameters import Fixed, Parameter
from search.studyfile.spec import StudySpec
from storage.claims import REASON

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class Trial:
    """One trial. Scores are mean weighted Pearson; None where the trial did not record a value.

    `value` is the best epoch's mean on the selection sequences so far, for finished and unfinished trials alike.
    """

    study: str
    number: int
    state: str  # complete, pruned, failed, running, waiting
    value: float | None
    configuration: dict[str, Any]  # active values of all parameters, searched or fixed
    seed: int | None
    worker: str
    device: str
    start: datetime | None
    end: datetime | None
    seconds: float  # of training, as the worker measured it
    seconds_per_epoch: float | None
    best_epoch: int | None
    history: tuple[dict[str, Any], ...]
    select: dict[str, float]  # t0, t1, mean
    report: dict[str, float]  # likewise, on sequences that no decision has seen
    reason: str
    imported: str | None  # "STUDY#NUMBER" of the trial it is a copy of
    parent: int | None  # of a replicate: the trial whose configuration it repeats
    checkpoint: str | None
    frozen: FrozenTrial = field(repr=False, compare=False)

    @property
    def epochs(self) -> int:
        """Epochs it was trained for."""
        return len(self.history)

    @cached_property
    def means(self) -> list[float]:
        """Score of each epoch on the selection sequences; NaN where an epoch has none."""
        return [_number(record.get("mean"), math.nan) for record in self.history]

    @cached_property
    def best_so_far(self) -> list[float]:
        """Highest score up to and including each epoch."""
        best, found = -math.inf, []
        for mean in self.means:
            best = max(best, mean) if math.isfinite(mean) else best
            found.append(best)
        return found


@dataclass(frozen=True)
class Study:
    """A study with its replicates, as read at one moment."""

    name: str
    spec: StudySpec
    fingerprint: str | None
    previous: str | None  # the revision before this one
    trials: tuple[Trial, ...]
    replicates: tuple[Trial, ...]
    ranking: Ranking

    def of(self, *states: str) -> list[Trial]:
        """Search trials in these states, by number."""
        return [trial for trial in self.trials if trial.state in states]

    @cached_property
    def finished(self) -> list[Trial]:
        """Complete search trials with a value."""
        return [trial for trial in self.of("complete") if trial.value is not None]

    @cached_property
    def scored(self) -> list[Trial]:
        """Complete and pruned search trials with a value."""
        return [trial for trial in self.of("complete", "pruned") if trial.value is not None]

    @cached_property
    def best(self) -> Trial | None:
        """The complete search trial with the highest value."""
        return max(self.finished, key=lambda trial: (trial.value, -trial.number), default=None)

    @cached_property
    def searched(self) -> dict[str, Parameter]:
        """Parameters that differ between trials."""
        return {name: p for name, p in self.spec.parameters.items() if not isinstance(p, Fixed)}

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
        return f"{60 * spent:.0f} {self.time_unit.replace('hours', 'minutes')}"


def read_study(study: optuna.Study) -> Study:
    """Read a study and its replicates. Raises `SearchError` where lobtuna did not create it."""
    seeds = find_replicates(study)
    runs = [run for source in (study, seeds) if source is not None for run in _runs(source)]
    return Study(
        name=study.study_name,
        spec=spec_of(study),
        fingerprint=study.user_attrs.get("data_fingerprint"),
        previous=study.user_attrs.get("revision_of"),
        trials=_read_trials(study),
        replicates=() if seeds is None else _read_trials(seeds),
        ranking=rank_runs(runs),
    )


def _runs(study: optuna.Study) -> list[Run]:
    """Complete runs that can be ranked: a trial that lobtuna did not write has no configuration or seed."""
    found = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        try:
            found.append(run_of(study.study_name, trial))
        except (KeyError, TypeError, ValueError, ConfigError):
            continue
    return [run for run in found if math.isfinite(run.value)]


def _read_trials(study: optuna.Study) -> tuple[Trial, ...]:
    return tuple(read_trial(study.study_name, trial) for trial in study.get_trials(deepcopy=False))


def read_trial(study: str, trial: FrozenTrial) -> Trial:
    """View one trial; what is missing or of another type than it should be counts as missing."""
    attrs = trial.user_attrs
    history = _history(trial)
    means = [_number(record.get("mean"), math.nan) for record in history]
    best = max((m for m in means if math.isfinite(m)), default=None)
    value = trial.values[0] if trial.state == TrialState.COMPLETE and trial.values else best
    configuration = attrs.get("configuration")
    best_epoch = attrs.get("best_epoch")
    return Trial(
        study=study,
        number=trial.number,
        state=STATES[trial.state],
        value=value if value is not None and math.isfinite(value) else None,
        configuration=configuration if isinstance(configuration, dict) else dict(trial.params),
        seed=_whole(attrs.get("seed")),
        worker=str(attrs.get("worker", "")),
        device=str(attrs.get("device", "")),
        start=trial.datetime_start,
        end=trial.datetime_complete,
        seconds=max(_number(attrs.get("seconds"), 0.0), 0.0),
        seconds_per_epoch=max(_number(attrs.get("seconds_per_epoch"), 0.0), 0.0) or None,
        best_epoch=best_epoch if isinstance(best_epoch, int) else (means.index(best) if best is not None else None),
        history=history,
        select=_scores(attrs, "select"),
        report=_scores(attrs, "report"),
        reason=str(attrs.get(REASON, "")),
        imported=attrs.get(IMPORTED),
        parent=_whole(attrs.get("parent")),
        checkpoint=attrs.get("checkpoint"),
        frozen=trial,
    )


def _history(trial: FrozenTrial) -> tuple[dict[str, Any], ...]:
    """The stored history, or what was reported of it: a trial that runs, or whose worker died, has no other."""
    stored = trial.user_attrs.get("history")
    if isinstance(stored, list) and stored and all(isinstance(record, dict) for record in stored):
        return tuple({"epoch": i, **record} for i, record in enumerate(stored))
    return tuple({"epoch": step, "mean": value} for step, value in sorted(trial.intermediate_values.items()))


def _scores(attrs: dict[str, Any], split: str) -> dict[str, float]:
    found = {part: _number(attrs.get(f"{split}_{part}"), math.nan) for part in ("t0", "t1", "mean")}
    return {part: value for part, value in found.items() if math.isfinite(value)}


def _number(value: Any, otherwise: float) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else otherwise


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def hours(trials: Iterable[Trial]) -> float:
    """Hours of training these trials took; imported ones were paid for by another study."""
    return sum(trial.seconds for trial in trials if trial.imported is None) / 3600


def ordered(trials: Sequence[Trial], key: Callable[[Trial], Any]) -> list[Trial]:
    """Trials by `key`, those where it is None left out."""
    return sorted((t for t in trials if key(t) is not None), key=key)
