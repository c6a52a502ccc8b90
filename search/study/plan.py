"""The plan of `lobtuna run FILE --plan ensemble`: how one budget is divided between search, replicates and seeds.

Four phases follow one another. The *search* has 60 % of the budget. Then the best eight configurations get
*replicates*. What is left goes seed by seed to the configuration from which the *ensemble* gains most
(`search.ship.gains`). Last comes the *export*. The phase follows from the study alone, so any worker can take part, end
or die at any point.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lobmodels.metric import metric_of
from search.errors import SearchError
from search.study.budget import begun, hours_of, spent
from search.study.further import repeat
from search.study.open import schema_of, spec_of
from search.study.record import ENSEMBLE, ENSEMBLE_PLAN, KEY, PARENT, state_of
from search.study.replication import choose, find_replicates
from search.study.runs import Run, finished_runs
from search.studyfile.terms import BudgetSpec

SHARE = 0.6  # of the budget, for the search
CONFIGURATIONS = 8  # that are repeated: in simulation eight with three seeds each beat 5 x 5, 3 x 8 and 24 x 1
MEMBERS = 24  # most members of the ensemble
MOST_SEEDS = 4  # replicates of each configuration before seeds go where the ensemble gains most
PHASES = ("search", "replicates", "ensemble", "export", "done")


@dataclass(frozen=True)
class EnsemblePlan:
    """What is stored with the study. `chosen` are the trials whose configurations the ensemble is made of, best first;
    there are none while the study still searches. The first `repeated` of them get `seeds` replicates each, the rest of
    `runs` replicates goes where the ensemble gains most."""

    began: str  # ISO 8601
    share: float = SHARE
    chosen: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()  # of the chosen configurations; plans of the first versions have none
    repeated: int = 0  # 0: all, as in the first versions
    seeds: int = 0
    runs: int = 0
    ended: str = ""  # why nothing more is trained
    exported: str = ""  # the submission

    @staticmethod
    def of(attributes: Mapping[str, Any]) -> EnsemblePlan | None:
        """The plan among a study's user attributes."""
        # For some time plans were stored under the name of the ensemble's score, and lost when that was stored.
        found = (attributes.get(name) for name in (ENSEMBLE_PLAN, ENSEMBLE))
        stored = next((plan for plan in found if isinstance(plan, dict) and "began" in plan), None)
        if stored is None:
            return None
        known = {name: stored[name] for name in EnsemblePlan.__dataclass_fields__ if name in stored}
        lists = {name: tuple(stored.get(name, ())) for name in ("chosen", "keys")}
        return EnsemblePlan(**{**known, **lists})

    def store(self, study: optuna.Study) -> EnsemblePlan:
        """Store it with the study."""
        study.set_user_attr(ENSEMBLE_PLAN, {**asdict(self), "chosen": list(self.chosen), "keys": list(self.keys)})
        return self

    @property
    def first(self) -> tuple[int, ...]:
        """The chosen trials whose configurations get `seeds` replicates each."""
        return self.chosen[: self.repeated or None]

    def ended_of(self, replicates: Sequence[FrozenTrial]) -> tuple[int, int]:
        """How many of the first replicates have ended, and how many further ones of the chosen configurations."""
        attribute, names = (KEY, self.keys) if self.keys else (PARENT, self.chosen)
        ended = Counter(trial.user_attrs.get(attribute) for trial in replicates if trial.state.is_finished())
        first = sum(min(self.seeds, ended[name]) for name in names[: len(self.first)])
        return first, sum(ended[name] for name in names) - first

    def search_budget(self, budget: BudgetSpec) -> BudgetSpec:
        """The part of the study's budget that the search has."""
        changes: dict[str, Any] = {}
        if budget.trials is not None:
            changes["trials"] = max(1, math.floor(self.share * budget.trials))
        if budget.hours is not None:
            changes["hours"] = self.share * budget.hours
        if budget.until is not None:
            began = datetime.fromisoformat(self.began)
            changes["until"] = began + self.share * (budget.until - began)
        return budget.model_copy(update=changes)


def begin_plan(study: optuna.Study) -> EnsemblePlan:
    """The study's plan; a new one where it has none. Raises `SearchError` for a study without a budget, and
    for data whose metric is no correlation."""
    found = EnsemblePlan.of(study.user_attrs)
    if found is not None:
        return found
    schema = schema_of(study)
    if not metric_of(schema).correlates:
        raise SearchError(
            f"--plan ensemble expects a score that is a correlation, and the data's metric is {schema.metric}: run the "
            "study without it, and export --top"
        )
    budget = spec_of(study).budget
    if budget.trials is None and budget.hours is None and budget.until is None:
        raise SearchError(
            f"--plan ensemble divides a budget, and study {study.study_name!r} has none: add budget: {{hours: 8}}, "
            "{trials: 100} or {until: ...} to the study file"
        )
    return EnsemblePlan(datetime.now(UTC).isoformat()).store(study)


def searches(study: optuna.Study, plan: EnsemblePlan) -> bool:
    """Whether the search goes on: a trial runs, or its share of the budget is not spent. What is queued beyond the
    share is never taken."""
    trials = study.get_trials(deepcopy=False)
    running = any(trial.state == TrialState.RUNNING for trial in trials)
    return running or spent(plan.search_budget(spec_of(study).budget), trials) is None


def choose_repeated(study: optuna.Study, plan: EnsemblePlan, replicates: Sequence[FrozenTrial]) -> EnsemblePlan:
    """The plan after the search: which configurations are repeated, and how often. It is stored.

    `replicates` are those of `attempts`, read before `plan` was. As long as a plan has chosen nothing, no worker has
    queued anything for it: so every worker that comes here counts the same replicates, and chooses the same, also while
    another queues what it has chosen.
    """
    if not finished_runs(study):
        return replace(plan, ended="the search has no complete run").store(study)
    best = choose(study)[:CONFIGURATIONS]
    left = runs_left(study, best, replicates)
    repeated = min(len(best), max(left, 1))
    return replace(
        plan,
        chosen=tuple(run.number for run in best),
        keys=tuple(run.key for run in best),
        repeated=repeated,
        seeds=max(0, min(MOST_SEEDS, left // (2 * repeated) or min(left, 1))),
        runs=left,
    ).store(study)


def finish(study: optuna.Study, plan: EnsemblePlan, why: str) -> EnsemblePlan:
    """Store that nothing more is trained, and why."""
    return replace(plan, ended=why).store(study)


def runs_left(
    study: optuna.Study, chosen: Sequence[Run], replicates: Sequence[FrozenTrial], now: datetime | None = None
) -> int:
    """How many replicates the rest of the budget still allows beside the `replicates` of `attempts`; those that are
    queued or run count as done."""
    budget = spec_of(study).budget
    searched = [trial for trial in begun(study.get_trials(deepcopy=False)) if state_of(trial) != "withdrawn"]
    limits = [2 * MEMBERS - len(replicates)]
    if budget.trials is not None:
        limits.append(budget.trials - len(searched) - len(replicates))
    if budget.hours is not None:
        usual = sum(run.seconds for run in chosen) / 3600.0 / len(chosen)
        unfinished = sum(not trial.state.is_finished() for trial in replicates)
        left = budget.hours - hours_of(searched) - hours_of([t for t in replicates if t.state.is_finished()])
        limits.append(math.floor(left / usual + 0.5) - unfinished if usual > 0 else limits[0])
    if budget.until is not None and (now or datetime.now(UTC)) >= budget.until:
        return 0
    return max(0, min(limits))


def attempts(study: optuna.Study) -> list[FrozenTrial]:
    """The replicates of a study, queued and failed ones included."""
    seeds = find_replicates(study)
    found = [] if seeds is None else seeds.get_trials(deepcopy=False)
    return [trial for trial in found if state_of(trial) != "withdrawn"]


def chosen_runs(study: optuna.Study, plan: EnsemblePlan) -> list[Run]:
    """The search runs whose configurations the plan repeats."""
    return choose(study, None, plan.chosen)


def queue_first(study: optuna.Study, plan: EnsemblePlan) -> int:
    """Queue what is missing of each chosen configuration's first replicates; returns how many.

    Replicate by replicate, not configuration by configuration: if the budget ends early, each has about equally many.
    """
    queued = 0
    for count in range(1, plan.seeds + 1):
        queued += sum(repeat(study, number, count) for number in plan.first)
    return queued


def seeds_of(study: optuna.Study, runs: Sequence[Run]) -> dict[str, int]:
    """Runs of each configuration that are complete or may still be: the search's own and its replicates."""
    found = {run.key: 1 for run in runs}
    for trial in attempts(study):
        key = trial.user_attrs.get(KEY)
        if key in found and state_of(trial) != "failed":
            found[key] += 1
    return found


def under_way(trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial is queued or running."""
    return any(trial.state in (TrialState.WAITING, TrialState.RUNNING) for trial in trials)


def phase_of(plan: EnsemblePlan, replicates: Sequence[FrozenTrial]) -> str:
    """One of `PHASES`. `replicates` are those of `attempts`."""
    if plan.exported:
        return "done"
    if plan.ended:
        return "export"
    if not plan.chosen:
        return "search"
    return "replicates" if plan.ended_of(replicates)[0] < len(plan.first) * plan.seeds else "ensemble"


def describe_plan(plan: EnsemblePlan, replicates: Sequence[FrozenTrial]) -> str:
    """The phase for a screen."""
    ended, further = plan.ended_of(replicates)
    first = len(plan.first) * plan.seeds
    words = {
        "search": f"search, with {plan.share:.0%} of the budget",
        "replicates": f"replicates of the best {len(plan.first)} configurations, {ended} of {first} ended",
        "ensemble": f"seeds where the ensemble gains most, {further} ended, at most {plan.runs - first} in all",
        "export": f"export; nothing more is trained: {plan.ended}",
        "done": f"exported to {plan.exported}",
    }
    return words[phase_of(plan, replicates)]
