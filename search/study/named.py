"""Ranks and repeats the configurations of a study that is given by URL and name: `rank` and `replicate` without their
printing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from search.errors import SearchError
from search.study.open import SEEDS, open_study, spec_of
from search.study.ranking import Ranking
from search.study.replication import Plan, Queued, choose, rank_study, store_plan
from search.study.replication import replicate as queue
from search.study.runs import nothing_complete

USUAL = 5  # configurations that are repeated where nothing is asked for
SEEDS_EACH = 5  # runs of each, the search's own included


@dataclass(frozen=True)
class StudyRanking:
    """The ranking of a study's configurations, and the share of the validation sequences that ranking has not seen."""

    study: str
    ranking: Ranking
    report_fraction: float


@dataclass(frozen=True)
class Repeated:
    """What `replicate` queued in the study of replicates of `study`; `plan` is how workers go on by themselves."""

    study: optuna.Study
    queued: Queued
    seeds: int
    plan: Plan | None


def open_searched(url: str, name: str) -> optuna.Study:
    """The study `name`; the name of its replicates is understood as the study's own."""
    return open_study(url, name.removesuffix(SEEDS))


def rank(url: str, name: str) -> StudyRanking:
    """Rank the configurations of study `name`. Raises `SearchError` where no run is complete."""
    study = open_searched(url, name)
    ranking = rank_study(study)
    if not ranking.rows:
        raise SearchError(nothing_complete(study))
    return StudyRanking(study.study_name, ranking, spec_of(study).validation.report_fraction)


def replicate(
    url: str,
    name: str,
    *,
    top: int | None = None,
    seeds: int = SEEDS_EACH,
    trials: Sequence[int] = (),
    auto: bool = False,
    runs: int | None = None,
    retry: bool = False,
) -> Repeated:
    """Queue replicates of the `top` best configurations, or of those of `trials`, until each has `seeds` runs.

    With `auto`, workers then repeat what could still be the best, up to `runs` replicates in all. Raises `SearchError`
    for options that contradict each other, and where the configurations are not there.
    """
    if runs is not None and not auto:
        raise SearchError("--runs is the budget of --auto: add --auto, or choose --top and --seeds")
    study = open_searched(url, name)
    chosen = choose(study, top, trials) if top is not None or trials else choose(study, None)[:USUAL]
    asked = len(chosen) * (seeds - 1)
    if runs is not None and runs < asked:
        raise SearchError(f"--runs {runs} is less than the {asked} replicates of --top and --seeds alone: raise it")
    queued = queue(study, chosen, seeds, retry=retry)
    plan = Plan(tuple(run.key for run in chosen), runs or 2 * asked) if auto else None
    if plan is not None:
        store_plan(study, plan)
    return Repeated(study, queued, seeds, plan)
