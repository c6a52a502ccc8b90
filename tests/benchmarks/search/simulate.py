"""One study of one arm on one landscape, with a real Optuna study in memory, and what came of it at any budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import TrialState

from lobmodels.config import RunConfig
from search.studyfile.space import suggest, to_params
from search.studyfile.spec import StudySpec
from tests.benchmarks.search.arms import TEACHES
from tests.benchmarks.search.landscape import Landscape, TrainedRun, correlations

MEMBERS = 10


@dataclass(frozen=True)
class Spent:
    """One ended trial: what it cost and what it is worth."""

    epochs: int
    seconds: float
    complete: bool
    select: float  # best epoch's score, on which runs are chosen
    truth: float  # that epoch's score on sequences nobody selects on
    run: TrainedRun
    key: str


def simulate(
    study: optuna.Study, spec: StudySpec, landscape: Landscape, *, epochs: float, seconds: float = np.inf
) -> list[Spent]:
    """Ask, train and tell until `epochs` or `seconds` are spent; early stopping as the configuration says."""
    for baseline in spec.baselines:
        config = RunConfig.parse(baseline)
        study.enqueue_trial(to_params(spec, config), user_attrs={"baseline": 1})
    spent: list[Spent] = []
    used, time = 0, 0.0
    while used < epochs and time < seconds:
        trial = study.ask()
        spent.append(_trial(study, spec, landscape, trial, seconds < np.inf))
        used += spent[-1].epochs
        time += spent[-1].seconds
    return spent


def _trial(study: optuna.Study, spec: StudySpec, landscape: Landscape, trial: optuna.Trial, by_seconds: bool) -> Spent:
    config = suggest(spec, trial)
    run = landscape.run(config.active(), spec.trial_seed(trial.number))
    best, state = 0, TrialState.COMPLETE
    for epoch, value in enumerate(run.select):
        if by_seconds:
            trial.set_user_attr("seconds", run.seconds * (epoch + 1))
        trial.report(float(value), epoch)
        best = epoch if value > run.select[best] else best
        if epoch - best >= config.early_stopping or epoch + 1 == len(run.select):
            break
        if trial.should_prune():
            state = TrialState.PRUNED
            break
    if run.diverged:
        state = TrialState.PRUNED if study.user_attrs.get(TEACHES) else TrialState.FAIL
        trial.report(-1.0, epoch + 1)  # Optuna gives a pruned trial its last report
    study.tell(trial, float(run.select[best]) if state == TrialState.COMPLETE else None, state=state)
    complete = state == TrialState.COMPLETE
    cost = run.seconds * (epoch + 1)
    return Spent(epoch + 1, cost, complete, float(run.select[best]), float(run.truth[best]), run, config.key())


def within(spent: list[Spent], *, epochs: float = np.inf, seconds: float = np.inf) -> list[Spent]:
    """The trials that had ended when so much was spent."""
    used = np.cumsum([trial.epochs for trial in spent])
    time = np.cumsum([trial.seconds for trial in spent])
    return [trial for trial, e, s in zip(spent, used, time, strict=True) if e <= epochs and s <= seconds]


def shipped(spent: list[Spent], members: int = MEMBERS) -> float:
    """True correlation of the uniform average of the best complete runs, each scaled to the same spread."""
    chosen = sorted((trial for trial in spent if trial.complete), key=lambda trial: -trial.select)[:members]
    if not chosen:
        return float("nan")
    r = np.array([trial.truth for trial in chosen])
    matrix = correlations(np.stack([trial.run.vector for trial in chosen]), [trial.key for trial in chosen])
    return float(r.mean() / np.sqrt(matrix.mean()))


def best_configuration(spent: list[Spent]) -> float:
    """True score over seeds of the configuration with the best selection score."""
    complete = [trial for trial in spent if trial.complete]
    return max(complete, key=lambda trial: trial.select).run.quality if complete else float("nan")
