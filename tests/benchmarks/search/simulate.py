"""One study of one arm on one landscape, with a real Optuna study in memory, and what came of it at any budget.

Where the spec has a `second_look`, the last part of the epochs takes up pruned runs as a worker does: the product's own
code says which and queues them, and a run that goes on costs only the epochs that it still trains.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import TrialState

from lobmodels.config import RunConfig
from search.study.record import CONTINUES, DIVERGED, FAILURE, KEPT_STATE, KEY, SEED
from search.study.second_look import KeptState, queue_second_look
from search.studyfile.space import suggest, to_params
from search.studyfile.spec import StudySpec
from tests.benchmarks.search.arms import TEACHES
from tests.benchmarks.search.landscape import Alike, Landscape, TrainedRun, correlations

MEMBERS = 10
STATE_BYTES = 800_000  # of a kept state: weights, the best ones, and Adam's two moments of 50,000 to 70,000 parameters


@dataclass(frozen=True)
class Spent:
    """One ended trial: what it cost and what it is worth."""

    epochs: int  # that it trained itself: without those of the pruned run that it takes up
    seconds: float
    complete: bool
    select: float  # best epoch's score, on which runs are chosen
    truth: float  # that epoch's score on sequences nobody selects on
    run: TrainedRun
    key: str
    continues: bool = False  # whether it takes up a pruned run


def simulate(
    study: optuna.Study, spec: StudySpec, landscape: Landscape, *, epochs: float, seconds: float = np.inf
) -> list[Spent]:
    """Ask, train and tell until `epochs` or `seconds` are spent; early stopping as the configuration says."""
    begin(study, spec)
    return go_on(study, spec, landscape, [], epochs=epochs, seconds=seconds)


def begin(study: optuna.Study, spec: StudySpec) -> None:
    """Queue the baselines."""
    for baseline in spec.baselines:
        config = RunConfig.parse(baseline)
        study.enqueue_trial(to_params(spec, config), user_attrs={"baseline": 1})


def go_on(
    study: optuna.Study,
    spec: StudySpec,
    landscape: Landscape,
    spent: list[Spent],
    *,
    epochs: float,
    seconds: float = np.inf,
    looks: bool = True,
) -> list[Spent]:
    """`spent`, what the study has trained so far, and what it trains until `epochs` or `seconds` are spent in all.

    Without `looks` states are kept and nothing is taken up.
    """
    spent, share = list(spent), spec.second_look.share if looks else 0.0
    used, time = sum(trial.epochs for trial in spent), sum(trial.seconds for trial in spent)
    while used < epochs and time < seconds:
        if share and used >= (1 - share) * epochs:
            queue_second_look(study, spec, _states(study))
        trial = study.ask()
        spent.append(_trial(study, spec, landscape, trial, seconds < np.inf))
        used += spent[-1].epochs
        time += spent[-1].seconds
    return spent


def branch(study: optuna.Study) -> optuna.Study:
    """A copy of a study in memory that goes on as the first would, and leaves it as it is."""
    twin = optuna.create_study(
        direction="maximize", sampler=copy.deepcopy(study.sampler), pruner=copy.deepcopy(study.pruner)
    )
    for name, value in study.user_attrs.items():
        twin.set_user_attr(name, value)
    twin.add_trials(study.get_trials())
    return twin


def _states(study: optuna.Study) -> set[str]:
    """The artifacts that a store would hold."""
    kept = (KeptState.of(trial) for trial in study.get_trials(deepcopy=False))
    return {state.artifact for state in kept if state is not None}


def _trial(study: optuna.Study, spec: StudySpec, landscape: Landscape, trial: optuna.Trial, by_seconds: bool) -> Spent:
    config = suggest(spec, trial)
    seed = trial.user_attrs.get(SEED, spec.trial_seed(trial.number))
    run = landscape.run(config.active(), seed)
    first = len(study.get_trials(deepcopy=False)[trial.number].intermediate_values)  # of the run that it takes up
    best, state = int(np.argmax(run.select[: max(first, 1)])), TrialState.COMPLETE
    for epoch in range(first, len(run.select)):
        if by_seconds:
            trial.set_user_attr("seconds", run.seconds * (epoch + 1))
        trial.report(float(run.select[epoch]), epoch)
        best = epoch if run.select[epoch] > run.select[best] else best
        if epoch - best >= config.early_stopping or epoch + 1 == len(run.select):
            break
        if trial.should_prune():
            state = TrialState.PRUNED
            break
    if run.diverged:
        state = TrialState.PRUNED if study.user_attrs.get(TEACHES) else TrialState.FAIL
        trial.set_user_attr(FAILURE, DIVERGED)
        trial.report(-1.0, epoch + 1)  # Optuna gives a pruned trial its last report
    elif state == TrialState.PRUNED and spec.second_look.share:
        kept = KeptState(str(trial.number), epoch + 1, STATE_BYTES).to_json()
        for name, value in {KEPT_STATE: kept, KEY: config.key(), SEED: seed}.items():
            trial.set_user_attr(name, value)
    study.tell(trial, float(run.select[best]) if state == TrialState.COMPLETE else None, state=state)
    return Spent(
        epochs=epoch + 1 - first,
        seconds=run.seconds * (epoch + 1 - first),
        complete=state == TrialState.COMPLETE,
        select=float(run.select[best]),
        truth=float(run.truth[best]),
        run=run,
        key=config.key(),
        continues=CONTINUES in trial.user_attrs,
    )


def within(spent: list[Spent], *, epochs: float = np.inf, seconds: float = np.inf) -> list[Spent]:
    """The trials that had ended when so much was spent."""
    used = np.cumsum([trial.epochs for trial in spent])
    time = np.cumsum([trial.seconds for trial in spent])
    return [trial for trial, e, s in zip(spent, used, time, strict=True) if e <= epochs and s <= seconds]


def shipped(spent: list[Spent], members: int = MEMBERS, alike: Alike = Alike()) -> float:  # noqa: B008
    """True correlation of the uniform average of the best complete runs, each scaled to the same spread."""
    chosen = sorted((trial for trial in spent if trial.complete), key=lambda trial: -trial.select)[:members]
    if not chosen:
        return float("nan")
    r = np.array([trial.truth for trial in chosen])
    matrix = correlations(np.stack([trial.run.vector for trial in chosen]), [trial.key for trial in chosen], alike)
    return float(r.mean() / np.sqrt(matrix.mean()))


def best_configuration(spent: list[Spent]) -> float:
    """True score over seeds of the configuration with the best selection score."""
    complete = [trial for trial in spent if trial.complete]
    return max(complete, key=lambda trial: trial.select).run.quality if complete else float("nan")
