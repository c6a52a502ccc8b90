"""The first lines about a study: what is best so far, what it is better than, and what to do now.

Computed once from a study as it was read; the report, `lobtuna status` and the dashboard's note show the same object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist, fmean
from typing import Any

from lobmodels.metric import METRICS
from search.report.nextstep import NextStep, next_step
from search.report.record import Study
from search.report.style import plural
from search.study.ranking import RankedConfiguration
from search.study.reference import Reference, Score
from search.study.runs import Run
from search.study.status import BudgetUse, use_of, use_under
from search.study.words import brief

LEVEL = 0.9  # of the intervals
INTERVALS = "in brackets: 90 % intervals over seeds, else over resampled sequences"


@dataclass(frozen=True)
class Row:
    """One forecast with its scores on both kinds of sequences; `what` says in words which it is."""

    label: str
    select: Score | None
    report: Score | None
    what: str


@dataclass(frozen=True)
class Headline:
    """What a reader should know first."""

    study: str
    rows: tuple[Row, ...]  # the best configuration first, then what it is read beside
    budget: str
    step: NextStep

    def cells(self) -> list[list[str]]:
        """The rows as text: label, score on selection, score on report, what it is."""
        return [[r.label, *("-" if s is None else str(s) for s in (r.select, r.report)), r.what] for r in self.rows]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        return asdict(self)


def headline(study: Study) -> Headline:
    """The first lines about a study as it was read."""
    use = _use(study)
    rows = (_best(study), _ensemble(study), _baseline(study), _ridge(study))
    found = tuple(row for row in rows if row is not None)
    return Headline(study.name, found, _budget(use), next_step(study, use))


def _use(study: Study) -> BudgetUse:
    trials, replicates = ([trial.frozen for trial in part] for part in (study.trials, study.replicates))
    budget = study.spec.budget
    return use_of(budget, trials) if study.plan is None else use_under(study.plan, budget, trials, replicates)


def _best(study: Study) -> Row:
    label = "best"
    if not study.ranking.rows:
        return Row(label, None, None, "no run is complete yet")
    row = study.ranking.rows[0]
    origin = f"trial {row.trial}" if row.trial is not None else row.key
    seen = f"{origin}, {plural(row.n, 'run')}"
    if row.estimate is None:
        seen = f"{origin}, the best of {plural(len(study.finished), 'single run')}: too high by its luck"
    return Row(label, *_scores(study, row), f"{seen}: {brief(row.configuration)}")


def _scores(study: Study, row: RankedConfiguration) -> tuple[Score, Score | None]:
    """On selection the ranking's estimate, or the single run's score; on report the mean of the runs."""
    if row.estimate is not None:
        select = Score(row.estimate, row.low, row.high)
    else:
        select = _resampled(study, [row.best_run], "select") or Score(row.best_run.value)
    return select, _mean_report(study, row)


def _mean_report(study: Study, row: RankedConfiguration) -> Score | None:
    values = [run.report["mean"] for run in row.runs if run.report]
    if not values:
        return None
    runs = [run for run in row.runs if run.report]
    return _resampled(study, runs, "report") or _over_seeds(values)


def _resampled(study: Study, runs: Sequence[Run], part: str) -> Score | None:
    """The mean score with its interval over sequences; None where a run's sums were not kept."""
    sums = [study.sums.get(run.name, {}).get(part) for run in runs]
    known = [found for found in sums if found is not None]
    return Score.over_sequences(known) if known and len(known) == len(runs) else None


def _over_seeds(values: Sequence[float]) -> Score:
    """The mean of some runs with its interval over seeds; without one where a single run says nothing of it."""
    mean = fmean(values)
    if len(values) < 2:
        return Score(mean)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    half = NormalDist().inv_cdf(0.5 + LEVEL / 2) * spread
    return Score(mean, mean - half, mean + half)


def _ensemble(study: Study) -> Row | None:
    if study.ensemble is None:
        if not study.finished:
            return None
        return Row("ensemble", None, None, why_unscored(study, f"lobtuna report {study.name} --data DIR"))
    members = study.ensemble.members
    return Row("ensemble", *_of(study.ensemble), f"uniform average of {plural(len(members), 'run')}{_newer(study)}")


def why_unscored(study: Study, remedy: str) -> str:
    """What stands in the place of an ensemble's score: `remedy`, where that would score it (`search.ship.reference`).
    A metric that is not known here is a plugin's, and no correlation."""
    metric = METRICS.get(study.schema.metric)
    if metric is None or not metric.correlates:
        return "not scored here: the metric is no correlation; export it, then lobtuna score"
    return f"not scored yet: {remedy}"


def _newer(study: Study) -> str:
    """How many runs have finished since the ensemble was scored: it may be another one by now."""
    assert study.ensemble is not None
    since = study.complete - study.ensemble.runs
    return f"; {plural(since, 'run')} finished since" if since > 0 else ""


def _baseline(study: Study) -> Row | None:
    """The best of the study file's baselines: the recipe that was known before the search."""
    runs = [t for t in study.finished if t.baseline is not None]
    if not runs:
        return None
    first = max(runs, key=lambda t: t.value or 0.0)
    row = next((row for row in study.ranking.rows if row.key == first.key), None)
    scores = (Score(first.value or 0.0), Score(first.report["mean"]) if "mean" in first.report else None)
    if row is not None and row.n > 1:
        scores = (Score(row.estimate if row.estimate is not None else row.mean, row.low, row.high), _over(row))
    what = f"the best of {plural(len(runs), 'baseline')}, trial {first.number}: {brief(first.configuration)}"
    return Row("baseline", *scores, what)


def _over(row: RankedConfiguration) -> Score | None:
    values = [run.report["mean"] for run in row.runs if run.report]
    return _over_seeds(values) if values else None


def _ridge(study: Study) -> Row | None:
    if study.ridge is None:
        return None
    return Row("ridge", *_of(study.ridge), "linear regression on the columns of one row")


def _of(reference: Reference) -> tuple[Score | None, Score | None]:
    return reference.select, reference.report


def _budget(use: BudgetUse) -> str:
    trials = f"{use.trials} trials begun" if use.trials_limit is None else f"{use.trials} of {use.trials_limit} trials"
    trials += f", {use.replicates} of them replicates" if use.replicates else ""
    hours = f"{use.hours:.2f}{'' if use.hours_limit is None else f' of {use.hours_limit:g}'} hours"
    until = "" if use.until is None else f", until {use.until:%Y-%m-%d %H:%M} UTC"
    return f"{trials}, {hours}{until}" + ("; spent" if use.spent else "")
