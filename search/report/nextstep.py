"""What to do now with a study: one step, its reason and its command."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from search.report.peaks import best_quarter, cut_off
from search.report.progress import best_after, in_order
from search.report.record import Study
from search.report.style import plural
from search.study.status import BudgetUse

Kind = Literal["find the fault", "more trials", "more epochs", "replicate", "ship"]
FEW = 3  # best runs needed to say that the epoch limit came too early
ENOUGH = 40  # ended trials after which a search without gain has had its chance
LEAST_RUNS = 3  # of the first configuration, before it is shipped


@dataclass(frozen=True)
class NextStep:
    """`command` is what to type; the study's storage and data are added by whoever knows them."""

    kind: Kind
    reason: str
    command: str


def next_step(study: Study, use: BudgetUse) -> NextStep:
    """The one step that helps most now."""
    for rule in (_nothing_complete, _queued, _planned, _epochs, _trials, _replicate):
        found = rule(study, use)
        if found is not None:
            return found
    return _ship(study)


def _nothing_complete(study: Study, use: BudgetUse) -> NextStep | None:
    if study.finished:
        return None
    failed = study.of("failed")
    if failed and not study.of("running", "waiting"):
        reason = f"all {plural(len(failed), 'trial')} failed, the last because: {failed[-1].reason or 'not recorded'}"
        return NextStep("find the fault", reason, f"lobtuna status {study.name} --json")
    return NextStep("more trials", "no run is complete yet", f"lobtuna work {study.name}")


def _queued(study: Study, use: BudgetUse) -> NextStep | None:
    """Replicates that wait while nobody works."""
    waiting = [t for t in study.replicates if t.state == "waiting"]
    if not waiting:
        return None
    return NextStep("replicate", f"{plural(len(waiting), 'replicate')} in the queue", f"lobtuna work {study.name}")


def _planned(study: Study, use: BudgetUse) -> NextStep | None:
    """What a plan leaves to do: until its export the workers go on by themselves."""
    plan = study.plan
    if plan is None:
        return None
    if plan.exported:
        check = f"lobtuna verify {plan.exported} --data DIR"
        return NextStep("ship", "the plan has written the submission; prove it before it is sent", check)
    if plan.ended:
        return NextStep("ship", f"nothing more is trained: {plan.ended}", "lobtuna run FILE --plan ensemble")
    return NextStep("more trials", "the plan goes on by itself while a worker is there", f"lobtuna work {study.name}")


def _epochs(study: Study, use: BudgetUse) -> NextStep | None:
    """More epochs, where most of the best runs were cut off: whatever else is concluded is about unfinished runs."""
    top = best_quarter(study.finished)
    late = cut_off(top)
    if len(top) < FEW or len(late) <= len(top) / 2 or (use.spent is None and len(study.finished) < 4 * FEW):
        return None
    reason = f"{len(late)} of the best {len(top)} finished runs were still gaining when the epoch limit ended them"
    reason += f"; lobtuna report {study.name} writes next.yaml, which raises it"
    return NextStep("more epochs", reason, "lobtuna run report/next.yaml --data DIR")


def _trials(study: Study, use: BudgetUse) -> NextStep | None:
    """More trials, while there is budget and the search still gains."""
    ended = in_order(study)
    before, now = best_after(ended, len(ended) // 2), best_after(ended, len(ended))
    gain = now - before
    gained = (
        f"the last {plural(len(ended) - len(ended) // 2, 'trial')} raised the best run by {gain:.4f}"
        if math.isfinite(before)
        else f"{plural(len(ended), 'trial')} ended so far"
    )
    if use.spent is None:
        if len(ended) >= ENOUGH and not gain > 0:
            return None
        return NextStep("more trials", f"{gained}, and the budget is not spent", f"lobtuna work {study.name}")
    noise = study.ranking.noise
    if noise is None or not gain > noise:
        return None
    reason = f"{gained}, more than one seed's spread of {noise:.4f}; raise the budget in the study file"
    return NextStep("more trials", reason, "lobtuna create FILE --revise")


def _replicate(study: Study, use: BudgetUse) -> NextStep | None:
    if not study.ranking.repeated:
        reason = "no configuration was repeated, so the order of the best runs is mostly luck"
        return NextStep("replicate", reason, f"lobtuna replicate {study.name}")
    first = study.ranking.repeated[0]
    if first.n < LEAST_RUNS and not any(t.state == "running" for t in study.replicates):
        reason = f"the first configuration has only {plural(first.n, 'run')}"
        return NextStep("replicate", reason, f"lobtuna replicate {study.name}")
    return None


def _ship(study: Study) -> NextStep:
    rows = study.ranking.repeated
    reason = f"{plural(len(rows), 'configuration')} with {sum(row.n for row in rows)} runs in all are repeated, and "
    return NextStep("ship", reason + "neither trials nor epochs promise more", f"lobtuna export {study.name}")
