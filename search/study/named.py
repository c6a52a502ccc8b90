"""Ranks, repeats and refits the configurations of a study that is given by URL and name: `rank`, `replicate` and
`refit` without their printing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from lobmodels.schema import LOB, Schema
from search.errors import SearchError
from search.study.open import SEEDS, open_study, schema_of, spec_of
from search.study.orders import NO_FOLDS
from search.study.ranking import Ranking
from search.study.refit import Ordered, choose_ranked
from search.study.refit import refit as order
from search.study.replication import Plan, Queued, choose, rank_study, store_plan
from search.study.replication import replicate as queue
from search.study.runs import nothing_complete
from search.studyfile.spec import StudySpec
from search.studyfile.validation import ValidationSpec

USUAL = 5  # configurations that are repeated or refitted where nothing is asked for
REFITS = 4  # runs of each configuration that is refitted
SEEDS_EACH = 5  # runs of each with the fixed split, the search's own included


@dataclass(frozen=True)
class StudyRanking:
    """The ranking of a study's configurations, and how the study divides its sequences."""

    study: str
    ranking: Ranking
    validation: ValidationSpec
    schema: Schema = LOB  # of the study's data

    @property
    def report_fraction(self) -> float:
        """Share of the validation sequences that the ranking has not seen."""
        return self.validation.report_fraction


@dataclass(frozen=True)
class Repeated:
    """What `replicate` queued in the study of replicates of `study`; `plan` is how workers go on by themselves."""

    study: optuna.Study
    queued: Queued
    seeds: int
    folds: int
    plan: Plan | None


@dataclass(frozen=True)
class Refitted:
    """What `refit` queued in the study of replicates of `study`: `seeds` runs of each configuration."""

    study: optuna.Study
    ordered: Ordered
    seeds: int
    with_report: bool


def open_searched(url: str, name: str) -> optuna.Study:
    """The study `name`; the name of its replicates is understood as the study's own."""
    return open_study(url, name.removesuffix(SEEDS))


def rank(url: str, name: str) -> StudyRanking:
    """Rank the configurations of study `name`. Raises `SearchError` where no run is complete."""
    study = open_searched(url, name)
    ranking = rank_study(study)
    if not ranking.rows:
        raise SearchError(nothing_complete(study))
    return StudyRanking(study.study_name, ranking, spec_of(study).validation, schema_of(study))


def replicate(
    url: str,
    name: str,
    *,
    top: int | None = None,
    seeds: int | None = None,
    folds: str | None = None,
    trials: Sequence[int] = (),
    auto: bool = False,
    runs: int | None = None,
    retry: bool = False,
) -> Repeated:
    """Queue replicates of the `top` best configurations, or of those of `trials`, until each has `seeds` runs on each
    of `folds` folds: `all` (the default), or the first so many. Without `seeds` each has five runs, or one a fold.

    With `auto`, workers then repeat what could still be the best, up to `runs` replicates in all. Raises `SearchError`
    for options that contradict each other, and where the configurations are not there.
    """
    if runs is not None and not auto:
        raise SearchError("--runs is the budget of --auto: add --auto, or choose --top and --seeds")
    study = open_searched(url, name)
    chosen = choose(study, top, trials) if top is not None or trials else choose(study, None)[:USUAL]
    several = _folds(folds, spec_of(study))
    seeds = seeds or (SEEDS_EACH if several == 1 else 1)
    asked = len(chosen) * (seeds * several - 1)
    if runs is not None and runs < asked:
        raise SearchError(f"--runs {runs} is less than the {asked} replicates of --top and --seeds alone: raise it")
    queued = queue(study, chosen, seeds, several, retry=retry)
    plan = Plan(tuple(run.key for run in chosen), runs or 2 * asked) if auto else None
    if plan is not None:
        store_plan(study, plan)
    return Repeated(study, queued, seeds, several, plan)


def refit(
    url: str,
    name: str,
    *,
    top: int | None = None,
    seeds: int = REFITS,
    trials: Sequence[int] = (),
    with_report: bool = False,
    retry: bool = False,
) -> Refitted:
    """Queue refits of the `top` configurations of the ranking, or of those of `trials`, until each has `seeds` of them.

    Raises `SearchError` where the configurations are not there.
    """
    study = open_searched(url, name)
    chosen = choose_ranked(study, top, trials)
    if top is None and not trials:
        chosen = chosen[:USUAL]
    return Refitted(study, order(study, chosen, seeds, with_report=with_report, retry=retry), seeds, with_report)


def _folds(asked: str | None, spec: StudySpec) -> int:
    """How many folds are asked for; all of the study's where nothing was."""
    if asked == "all" and spec.validation.count is None:
        raise SearchError(NO_FOLDS.format(name=spec.name))
    if asked is None or asked == "all":
        return spec.validation.count or 1
    if not asked.isdigit() or int(asked) < 1:
        raise SearchError(f"--folds {asked!r}: give a number of folds, or all")
    return int(asked)
