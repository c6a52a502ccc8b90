"""Repeats the best configurations under more seeds and on other folds, in a study that running workers serve first.

All configurations get the same seeds and folds, so that they are compared on common random numbers. The search's own
run of a configuration counts as the first seed on fold 0. With a stored plan, workers continue by successive
elimination: in each round, every configuration that could still be the best gets one more run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.errors import SearchError
from search.study.create import create_in, withdraw_duplicates
from search.study.open import SEEDS, load_study, spec_of
from search.study.orders import Cell, Plan, RefitOrder, cells, require_folds
from search.study.ranking import Ranking, rank_runs, repeated_runs
from search.study.record import (
    DRAW,
    FINGERPRINT,
    FOLD,
    KEY,
    PARENT_STUDY,
    PLAN,
    PLUGINS,
    REFIT,
    SCHEMA,
    SEED,
    SPEC,
    is_duplicate,
    state_of,
)
from search.study.resampling import stored_sums
from search.study.runs import Run, finished_runs, nothing_complete
from search.study.smoothing import smoothed_scores
from search.study.writers import queued_replicate
from search.studyfile.space import to_params
from search.studyfile.spec import StudySpec
from search.studyfile.terms import BudgetSpec, CheckpointSpec, PrunerSpec, SamplerSpec, SecondLookSpec
from storage.optuna_internals import storage_of
from storage.store import ARTIFACTS

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

COULD_BE_BEST = 0.05  # a configuration with a lower probability of being the best gets no further seed
SETTLED = 0.95  # the plan ends when one configuration is the best with this probability


@dataclass(frozen=True)
class Queued:
    """What `replicate` did: the chosen configurations as their best search runs, and the number of replicates that
    are new, were there before, or failed before."""

    chosen: tuple[Run, ...]
    queued: int
    present: int  # queued before: waiting, running or complete
    failed: int  # queued before and failed; not queued again


def replicate(study: optuna.Study, chosen: Sequence[Run], seeds: int, folds: int = 1, *, retry: bool = False) -> Queued:
    """Queue replicates until each of the `chosen` search runs' configurations has `seeds` runs on each of the first
    `folds` folds, its own run included.

    May be repeated: only missing replicates are queued, and with `retry` those that failed. Raises `SearchError` where
    that adds no run, or the study has fewer folds.
    """
    spec = spec_of(study)
    require_folds(spec, seeds, folds)
    target = open_replicates(study)
    states = replicate_states(target)
    counts = {"queued": 0, "present": 0, "failed": 0}
    listed = cells(spec, seeds, folds)
    other = {run.key: _under_other_seeds(states, run.key, listed) for run in chosen}
    # Cell by cell, not configuration by configuration: if the workers stop early, each has about equally many.
    for cell in listed:
        for run in chosen:
            state = states.get((run.key, *cell))
            if state is None and other[run.key][cell[1]]:
                state = other[run.key][cell[1]].pop()
            new = state is None or (retry and state == "failed")
            if new:
                enqueue_replicate(target, spec, run, cell)
            counts["queued" if new else "failed" if state == "failed" else "present"] += 1
    withdraw_duplicates(target, identity)
    return Queued(tuple(chosen), **counts)


def _under_other_seeds(
    states: Mapping[tuple[str, int, int | None], str], key: str, listed: Sequence[Cell]
) -> dict[int | None, list[str]]:
    """States by fold of a configuration's replicates that are not in the list: older versions gave all folds the same
    seeds, and --auto may have chosen others. Such a replicate counts as one on its fold."""
    found: dict[int | None, list[str]] = defaultdict(list)
    for (other, seed, fold), state in states.items():
        if other == key and (seed, fold) not in listed and state != "failed":
            found[fold].append(state)
    return found


def choose(study: optuna.Study, top: int | None = None, numbers: Iterable[int] = ()) -> list[Run]:
    """The search runs whose configurations to repeat: the `top` best, or those of the given trials.

    The best are those whose scores, smoothed over the space, are highest: the highest raw scores are mostly luck.

    Raises `SearchError` where there are fewer, or a trial is not complete.
    """
    runs = finished_runs(study)
    numbers = list(dict.fromkeys(numbers))
    if numbers:
        by_number = {run.number: run for run in runs}
        missing = [str(number) for number in numbers if number not in by_number]
        if missing:
            raise SearchError(
                f"trial {', '.join(missing)} of study {study.study_name!r} is not complete: choose from "
                f"{_numbers(sorted(by_number))}"
            )
        runs = [by_number[number] for number in numbers]
    else:
        ours = {run.number for run in runs}  # a score that a user's own script added says nothing about these
        worth = smoothed_scores([trial for trial in study.get_trials(deepcopy=False) if trial.number in ours])
        runs = sorted(runs, key=lambda run: (-worth.get(run.number, run.value), run.number))
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.key, run)
    chosen = list(first.values())
    if not chosen:
        raise SearchError(nothing_complete(study))
    if not numbers and top is not None and len(chosen) < top:
        raise SearchError(
            f"--top {top} asks for more configurations than study {study.study_name!r} has complete: {len(chosen)}; "
            f"use --top {len(chosen)}, or let it work on"
        )
    return chosen if numbers or top is None else chosen[:top]


def open_replicates(study: optuna.Study) -> optuna.Study:
    """The study of replicates of `study`, created if it does not exist: the same space, no pruner, no budget."""
    spec = spec_of(study)
    name = study.study_name + SEEDS
    found = find_replicates(study)
    if found is not None:
        return found
    changes = {
        "name": name,
        "baselines": (),
        "sampler": SamplerSpec(name="random"),
        "pruner": PrunerSpec(name="none"),
        "budget": BudgetSpec(),
        "second_look": SecondLookSpec(),
        # Replicates are few, and each is a possible member of an ensemble: keep all checkpoints.
        "checkpoints": CheckpointSpec(keep=max(1000, spec.checkpoints.keep)),
    }
    return create_in(
        storage_of(study),
        spec.model_copy(update=changes),
        study.user_attrs.get(FINGERPRINT),
        artifacts=study.user_attrs.get(ARTIFACTS),
        attributes={PARENT_STUDY: study.study_name}
        | {name: value for name, value in study.user_attrs.items() if name in (PLUGINS, SCHEMA)},
    )


def find_replicates(study: optuna.Study) -> optuna.Study | None:
    """The study of replicates of `study`, or None while nothing has been replicated."""
    storage, name = storage_of(study), study.study_name + SEEDS
    return load_study(storage, name) if has_replicates(storage, study.study_name) else None


def has_replicates(storage: BaseStorage, name: str) -> bool:
    """Whether the study `name` has a study of replicates. One without a definition does not count: the process that
    creates it has not finished, or was killed, and `open_replicates` then adds what is missing."""
    try:
        study_id = storage.get_study_id_from_name(name + SEEDS)
    except KeyError:
        return False
    return SPEC in storage.get_study_user_attrs(study_id)


def pool(study: optuna.Study) -> list[Run]:
    """All complete runs of a study: the search's and the replicates."""
    seeds = find_replicates(study)
    return finished_runs(study) + (finished_runs(seeds) if seeds is not None else [])


def rank_study(study: optuna.Study, keys: Collection[str] | None = None) -> Ranking:
    """Rank the configurations of a study, or some of them, by their runs' values, by resampled sequences where the
    sums are known, and with failed replicates counted."""
    seeds = find_replicates(study)
    failed = {} if seeds is None else _failures(seeds)
    studies = {study.study_name: study} | ({} if seeds is None else {seeds.study_name: seeds})
    runs = [run for run in pool(study) if keys is None or run.key in keys]
    repeated = [run for found in repeated_runs(runs, failed).values() for run in found]
    return rank_runs(runs, stored_sums(studies, repeated), failed)


def _failures(target: optuna.Study) -> dict[str, int]:
    """Replicates of each configuration that failed and did not succeed when they were queued again."""
    return dict(Counter(key for (key, *_), state in replicate_states(target).items() if state == "failed"))


def store_plan(study: optuna.Study, plan: Plan | None) -> None:
    """Store the plan by which workers queue further replicates, or remove it (None)."""
    open_replicates(study).set_user_attr(PLAN, None if plan is None else plan.to_json())


def advance(storage: BaseStorage, name: str) -> int:
    """Queue the next round of the plan of study `name`, if it has one and no replicate is queued or running.

    Every worker that finds no queued replicate calls this. Returns how many it queued. If two workers call it at the
    same moment, the later of each pair of equal replicates is withdrawn.
    """
    if not has_replicates(storage, name):
        return 0
    study, target = load_study(storage, name), load_study(storage, name + SEEDS)
    document = target.user_attrs.get(PLAN)
    if document is None:
        return 0
    if target.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING)):
        return 0
    plan = Plan.from_json(document)
    states = replicate_states(target)
    attempts = Counter(key for key, *_ in states)
    survivors = next_round(plan, finished_runs(study), lambda keys: rank_study(study, keys), attempts)
    spec = spec_of(study)
    for run in survivors:
        enqueue_replicate(target, spec, run, next_cell(spec, states, run.key))
    if not survivors:
        target.set_user_attr(PLAN, None)
    withdraw_duplicates(target, identity)
    return len(survivors)


def next_round(
    plan: Plan, searched: Sequence[Run], rank: Callable[[Collection[str]], Ranking], attempts: Mapping[str, int]
) -> list[Run]:
    """Search runs whose configurations get one more seed; empty when the plan has ended.

    `attempts` counts the replicates of each configuration so far, failed ones included, so that a configuration whose
    replicates all fail is not repeated without end. `rank` ranks some of the study's configurations.
    """
    left = plan.runs - sum(attempts.get(key, 0) for key in plan.keys)
    candidates = {run.key: run for run in sorted(searched, key=lambda run: run.value) if run.key in plan.keys}
    fresh = [run for key, run in candidates.items() if not attempts.get(key)]
    if left <= 0 or fresh:
        return fresh[: max(left, 0)]
    rows = rank(candidates.keys()).repeated
    chances = {row.key: row.probability_best or 0.0 for row in rows}
    if max(chances.values(), default=1.0) >= SETTLED:
        return []
    alive = sorted((key for key in chances if chances[key] >= COULD_BE_BEST), key=lambda key: -chances[key])
    return [candidates[key] for key in alive[:left]] if len(alive) > 1 else []


def next_cell(spec: StudySpec, states: Collection[tuple[str, int, int | None]], key: str) -> Cell:
    """The first seed and fold under which a configuration was not repeated yet."""
    taken = {(seed, fold) for other, seed, fold in states if other == key}
    listed = cells(spec, len(taken) + 2, spec.validation.count or 1)
    return next(cell for cell in listed if cell not in taken)


def enqueue_replicate(target: optuna.Study, spec: StudySpec, run: Run, cell: Cell, draw: int | None = None) -> None:
    """Queue a replicate of `run`; `draw` is the trial in whose place it runs, if there is one."""
    attributes = queued_replicate(run.key, run.number, *cell) | ({} if draw is None else {DRAW: draw})
    target.enqueue_trial(to_params(spec, run.config), user_attrs=attributes)


def replicate_states(target: optuna.Study) -> dict[tuple[str, int, int | None], str]:
    """State of each replicate by (key, seed, fold); of several, the one that is not failed."""
    states: dict[tuple[str, int, int | None], str] = {}
    for trial in target.get_trials(deepcopy=False):
        if is_duplicate(trial) or REFIT in trial.user_attrs:
            continue
        key, seed, fold, _ = identity(trial)
        if states.get((key, seed, fold), "failed") == "failed":
            states[key, seed, fold] = state_of(trial)
    return states


def identity(trial: FrozenTrial) -> tuple[str, int, int | None, bool | None]:
    """Key, seed, fold, and of a refit whether it trains on the report sequences: trials of the study of replicates that
    agree in all of them are the same run."""
    attrs = trial.user_attrs
    order = RefitOrder.from_json(attrs.get(REFIT))
    return attrs[KEY], int(attrs[SEED]), attrs.get(FOLD), None if order is None else order.with_report


def _numbers(numbers: list[int]) -> str:
    if not numbers:
        return "none: no trial is complete yet"
    shown = ", ".join(map(str, numbers[:12]))
    return shown if len(numbers) <= 12 else f"{shown} and {len(numbers) - 12} more"
