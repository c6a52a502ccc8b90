"""The state of a study at this moment: trials by state, running workers, the best run, what is left of the budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.study.budget import begun, hours_of, spent
from search.study.open import spec_of
from search.study.outlook import Outlook, outlook_of
from search.study.plan import EnsemblePlan, attempts, describe_plan
from search.study.record import ERROR, STATES, TrialRecord, read_trial, state_of
from search.study.replication import find_replicates
from search.study.runs import Run, best_run, finished_runs
from search.study.stalled import suggestion
from search.studyfile.terms import BudgetSpec
from storage.claims import DEFAULT_GRACE
from storage.fleet import Fleet
from storage.optuna_internals import study_id_of
from storage.store import store_of


@dataclass(frozen=True)
class AtWork:
    """A running trial and its worker. `silent`: no heartbeat for a minute; None where heartbeats cannot be seen, or
    where the trial has no claim, as a copy that the dashboard made by renaming a study."""

    worker: str
    device: str
    study: str
    trial: int
    epoch: int | None
    score: float | None  # of its best epoch
    silent: bool | None
    epochs: int | None  # the trial's limit
    gpu_use: int | None  # percent, where it can be read


@dataclass(frozen=True)
class BudgetUse:
    """How much of its budget the study has used. A limit is None where the study sets none."""

    trials: int  # those of its replicates that a plan pays for included
    trials_limit: int | None
    hours: float
    hours_limit: float | None
    until: datetime | None
    spent: str | None  # why no further trial begins
    replicates: int = 0  # among `trials`

    def to_json(self) -> dict[str, Any]:
        def part(used: float, limit: float | None) -> dict[str, Any]:
            return {"used": used, "limit": limit, "left": None if limit is None else max(0, limit - used)}

        return {
            "trials": part(self.trials, self.trials_limit),
            "hours": part(round(self.hours, 4), self.hours_limit),
            "until": None if self.until is None else self.until.isoformat(),
            "spent": self.spent,
        }


@dataclass(frozen=True)
class Status:
    """A study at one moment. `replicates` counts the trials of its study of replicates, None while there is none."""

    study: str
    question: str
    trials: dict[str, int]
    best: Run | None
    replicates: dict[str, int] | None
    workers: tuple[AtWork, ...]
    budget: BudgetUse
    outlook: Outlook
    failures: tuple[tuple[int, str, str], ...]  # trial, kind and reason of every failed trial, newest first
    plan: str | None = None  # of `run --plan ensemble`: the phase it is in
    standstill: str | None = None  # what to do about a study that no longer gets better

    @property
    def over(self) -> bool:
        """Whether the study is over: no trial runs, and none will unless the user gives another command."""
        counts = [self.trials, self.replicates or {}]
        return self.budget.spent is not None and not any(c.get("running") or c.get("waiting") for c in counts)

    def to_json(self) -> dict[str, Any]:
        best = self.best
        shown = ("number", "value", "seed", "configuration")
        return {
            "study": self.study,
            "question": self.question,
            "trials": self.trials,
            "best": None if best is None else {name: getattr(best, name) for name in shown},
            "replicates": self.replicates,
            "workers": [vars(worker) for worker in self.workers],
            "budget": self.budget.to_json(),
            "seconds_left": self.outlook.seconds_left,
            "plan": self.plan,
            "standstill": self.standstill,
            "failures": [{"number": n, "kind": kind, "reason": reason} for n, kind, reason in self.failures],
        }


def status_of(study: optuna.Study) -> Status:
    """Read a study and its replicates."""
    fleet = store_of(study).fleet
    trials = study.get_trials(deepcopy=False)
    seeds = find_replicates(study)
    replicates = [] if seeds is None else seeds.get_trials(deepcopy=False)
    workers = at_work(study, trials, fleet)
    if seeds is not None:
        workers += at_work(seeds, replicates, fleet)
    spec, plan = spec_of(study), EnsemblePlan.of(study.user_attrs)
    repeated = attempts(study) if plan is not None else []
    running = sum(worker.silent is not True for worker in workers)
    failed = [t for t in reversed(trials) if state_of(t) == "failed"]
    return Status(
        study=study.study_name,
        question=spec.question,
        trials=count(trials),
        best=best_run(finished_runs(study)),
        replicates=None if seeds is None else count(replicates),
        workers=tuple(workers),
        budget=use_of(spec.budget, trials) if plan is None else use_under(plan, spec.budget, trials, repeated),
        outlook=outlook_of(spec, trials, running, replicates=replicates, plan=plan),
        plan=None if plan is None else describe_plan(plan, repeated),
        standstill=suggestion(trials) if plan is None else None,
        failures=tuple(_failure(read_trial(study.study_name, trial)) for trial in failed),
    )


def use_under(
    plan: EnsemblePlan, budget: BudgetSpec, trials: Sequence[FrozenTrial], replicates: Sequence[FrozenTrial]
) -> BudgetUse:
    """What the search and the replicates have used of the whole budget; the plan says when that is spent."""
    searched = [trial for trial in begun(trials) if state_of(trial) != "withdrawn"]  # its replicate counts instead
    repeated = [trial for trial in begun(replicates) if state_of(trial) != "withdrawn"]
    return replace(
        use_of(budget, trials),
        trials=len(searched) + len(repeated),
        replicates=len(repeated),
        hours=hours_of(searched) + hours_of(repeated),
        spent=plan.ended or None,
    )


def _failure(trial: TrialRecord) -> tuple[int, str, str]:
    return trial.number, trial.failure or ERROR, trial.reason or "unknown"


def count(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    """Number of trials in each state."""
    states = Counter(map(state_of, trials))
    return {name: states[name] for name in STATES.values()}


def at_work(study: optuna.Study, trials: Sequence[FrozenTrial], fleet: Fleet) -> list[AtWork]:
    """The running trials of a study and who runs them."""
    running = [read_trial(study.study_name, trial) for trial in trials if trial.state == TrialState.RUNNING]
    if not running:
        return []
    if not fleet.shares_clock:
        return [_at_work(trial, None) for trial in running]
    study_id, now = study_id_of(study), fleet.now()
    # No beat is later than the second of these moments: before it every claimed trial is unheard.
    silent, claimed = (set(fleet.unheard(study_id, now + since)) for since in (-DEFAULT_GRACE, DEFAULT_GRACE))
    return [_at_work(trial, trial.number in silent if trial.number in claimed else None) for trial in running]


def _at_work(trial: TrialRecord, silent: bool | None) -> AtWork:
    return AtWork(
        worker=trial.worker or "?",
        device=trial.device or "?",
        study=trial.study,
        trial=trial.number,
        epoch=trial.frozen.last_step,
        score=trial.value,
        silent=silent,
        epochs=limit if isinstance(limit := trial.configuration.get("epochs"), int) else None,
        gpu_use=trial.gpu_use,
    )


def use_of(budget: BudgetSpec, trials: Sequence[FrozenTrial]) -> BudgetUse:
    """How much of the budget the trials have used, counted as `spent` counts."""
    paid = begun(trials)
    until = None if budget.until is None else budget.until.astimezone(UTC)
    reason = spent(budget, trials)
    return BudgetUse(len(paid), budget.trials, hours_of(paid), budget.hours, until, reason)
