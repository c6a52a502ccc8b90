"""Orders refits: the best configurations trained on all sequences, in the queue of the replicates.

No sequence is left to say when such a run should end or how good it is. For how long it is trained, its configuration's
earlier runs say; how good it is, only these can say as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import optuna

from lobmodels.config import RunConfig
from search.errors import SearchError
from search.study.create import withdraw_duplicates
from search.study.open import schema_of, spec_of
from search.study.orders import EarlierRun, RefitOrder, seed_list
from search.study.ranking import RankedConfiguration
from search.study.record import REFIT, is_duplicate, state_of
from search.study.replication import identity, open_replicates, rank_study
from search.study.runs import Run, nothing_complete
from search.study.writers import queued_refit
from search.studyfile.space import to_params

FOLLOWS_SCORES = ("plateau",)  # schedules whose learning rate depends on scores, which a refit does not have


@dataclass(frozen=True)
class Ordered:
    """What `refit` did: the configurations in the order of the ranking, their orders, and numbers of refits that are
    new, were there before, or failed before."""

    chosen: tuple[RankedConfiguration, ...]
    orders: tuple[RefitOrder, ...]
    queued: int
    present: int
    failed: int


def refit(
    study: optuna.Study,
    chosen: Sequence[RankedConfiguration],
    seeds: int,
    *,
    with_report: bool = False,
    retry: bool = False,
) -> Ordered:
    """Queue refits until each of the `chosen` configurations has `seeds` of them.

    May be repeated: only missing ones are queued, and with `retry` those that failed.
    """
    targets = schema_of(study).targets
    orders = tuple(order_for(row, targets, with_report=with_report) for row in chosen)
    target, spec = open_replicates(study), spec_of(study)
    states = _states(target)
    counts = {"queued": 0, "present": 0, "failed": 0}
    for seed in seed_list(spec, seeds):
        for row, order in zip(chosen, orders, strict=True):
            state = states.get((row.key, seed, with_report))
            new = state is None or (retry and state == "failed")
            if new:
                attributes = queued_refit(row.key, row.trial, seed, order)
                target.enqueue_trial(to_params(spec, RunConfig.parse(row.configuration)), user_attrs=attributes)
            counts["queued" if new else "failed" if state == "failed" else "present"] += 1
    withdraw_duplicates(target, identity)
    return Ordered(tuple(chosen), orders, **counts)


def choose_ranked(study: optuna.Study, top: int | None, numbers: Iterable[int] = ()) -> list[RankedConfiguration]:
    """The configurations that rank first, or those of the given search trials. Raises `SearchError` for others."""
    rows = rank_study(study).rows
    if not rows:
        raise SearchError(nothing_complete(study))
    by_trial = {row.trial: row for row in rows}
    numbers = list(dict.fromkeys(numbers))
    missing = [str(number) for number in numbers if number not in by_trial]
    if missing:
        raise SearchError(
            f"trial {', '.join(missing)} of study {study.study_name!r} is no complete run that `lobtuna rank` shows"
        )
    if numbers:
        return [by_trial[number] for number in numbers]
    if top is not None and top > len(rows):
        raise SearchError(
            f"--top {top} asks for more configurations than study {study.study_name!r} has complete: {len(rows)}"
        )
    return list(rows[:top])


def order_for(row: RankedConfiguration, targets: Sequence[str], *, with_report: bool = False) -> RefitOrder:
    """What the runs of a configuration say about its refit. Raises `SearchError` where none recorded its best epoch."""
    runs = tuple(earlier for run in row.runs if (earlier := _earlier(run, targets)) is not None)
    if not runs:
        raise SearchError(f"no run of trial {row.trial} has recorded its best epoch: replicate it, then refit")
    return RefitOrder(runs, row.mean if row.estimate is None else row.estimate, with_report)


def _earlier(run: Run, targets: Sequence[str]) -> EarlierRun | None:
    """What a run says about a refit; None where its history does not hold it."""
    own = [run.target_epochs.get(target) for target in targets] if run.config.epoch_per_target else []
    known = tuple(epoch + 1 for epoch in own if epoch is not None)
    if run.best_epoch is None or len(known) < len(own):
        return None
    follows = run.config.scheduler in FOLLOWS_SCORES
    return EarlierRun(run.fold, run.best_epoch + 1, run.rates if follows else (), known)


def _states(target: optuna.Study) -> dict[tuple[str, int, bool], str]:
    """State of each refit by key, seed and whether it trains on the report sequences."""
    states: dict[tuple[str, int, bool], str] = {}
    for trial in target.get_trials(deepcopy=False):
        if REFIT not in trial.user_attrs or is_duplicate(trial):
            continue
        key, seed, _, with_report = identity(trial)
        if states.get((key, seed, bool(with_report)), "failed") == "failed":
            states[key, seed, bool(with_report)] = state_of(trial)
    return states
