"""One step for each state of a study, with its reason in numbers."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest

from search.report.nextstep import NextStep, next_step
from search.report.record import Study, read_study
from search.study.plan import EnsemblePlan
from search.study.status import BudgetUse

LEFT = BudgetUse(150, 200, 2.0, 24.0, None, None)
SPENT = replace(LEFT, trials=200, spent="200 of 200 trials are done or running")


@pytest.fixture(scope="module")
def repeated(study: optuna.Study) -> Study:
    """Four configurations under three further seeds each."""
    return read_study(study)


def step(study: Study, use: BudgetUse = LEFT) -> NextStep:
    return next_step(study, use)


def test_nothing_is_complete(known: Study) -> None:
    """Work; where everything failed, look at the fault first."""
    assert step(replace(known, trials=())).kind == "more trials"
    failed = replace(known, trials=tuple(known.of("failed")))
    assert step(failed).kind == "find the fault" and failed.trials[-1].reason in step(failed).reason


def test_queued_replicates_come_first(repeated: Study) -> None:
    """Whatever else, they wait for a worker."""
    waiting = tuple(replace(t, state="waiting") for t in repeated.replicates[:2])
    found = step(replace(repeated, replicates=waiting))
    assert (found.kind, found.reason, found.command) == ("replicate", "2 replicates in the queue", "lobtuna work joint")


def test_a_plan_goes_on_by_itself_until_its_export(known: Study) -> None:
    """Until then a worker is all it needs; then the command that exports, and after that the proof of the zip."""
    plan = EnsemblePlan("2026-03-01T00:00:00+00:00")
    assert step(replace(known, plan=plan)).command == "lobtuna work joint"
    ended = replace(plan, ended="the budget is spent")
    found = step(replace(known, plan=ended))
    assert (found.kind, found.command) == ("ship", "lobtuna run FILE --plan ensemble")
    assert found.reason == "nothing more is trained: the budget is spent"
    found = step(replace(known, plan=replace(ended, exported="/there/submission.zip")))
    assert (found.kind, found.command) == ("ship", "lobtuna verify /there/submission.zip --data DIR")


def test_runs_that_were_cut_off(known: Study) -> None:
    """Where most of the best were still gaining at the limit, nothing else is worth doing first."""
    late = [replace(t, reason="epochs", best_epoch=t.epochs - 1) if t.state == "complete" else t for t in known.trials]
    found = step(replace(known, trials=tuple(late)), SPENT)
    assert found.kind == "more epochs" and "still gaining when the epoch limit ended them" in found.reason


def moved(known: Study, gain: float) -> Study:
    """The study with its best run as the last one, `gain` above what came before."""
    best = known.best
    assert best is not None
    last = replace(known.trials[-1], state="complete", value=(best.value or 0.0) + gain, end=known.trials[-1].end)
    return replace(known, trials=(*known.trials[:-1], last))


def test_a_search_that_gains_goes_on(known: Study) -> None:
    """While there is budget, and the reason is the gain of the second half."""
    found = step(moved(known, 0.0123))
    assert found.kind == "more trials" and "raised the best run by 0.0" in found.reason
    assert "the last 150 trials" in found.reason and found.command == "lobtuna work joint"


def test_a_search_that_gains_no_more_is_repeated(known: Study) -> None:
    """With budget left as without, where no configuration was repeated."""
    assert step(moved(known, -1.0), SPENT).kind == "replicate"
    assert step(known, SPENT).command == "lobtuna replicate joint"


def test_a_spent_budget_is_raised_for_a_gain_beyond_noise(known: Study, repeated: Study) -> None:
    """A late gain that one seed does not explain asks for more trials."""
    found = step(moved(repeated, 0.05), SPENT)
    assert found.kind == "more trials" and "--revise" in found.command


def test_what_was_repeated_is_shipped(repeated: Study) -> None:
    """Nothing else promises more: export."""
    found = step(moved(repeated, -1.0), SPENT)
    assert found.kind == "ship" and found.command == "lobtuna export joint" and "4 configurations" in found.reason
