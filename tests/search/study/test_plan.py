"""Promises of a plan: how it divides the budget, which configurations it repeats, and the phase it says it is in."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.errors import SearchError
from search.report.headline import headline
from search.report.record import read_study
from search.study.plan import (
    CONFIGURATIONS,
    EnsemblePlan,
    attempts,
    begin_plan,
    choose_repeated,
    chosen_runs,
    describe_plan,
    finish,
    phase_of,
    queue_first,
    runs_left,
    searches,
    seeds_of,
)
from search.study.record import ENSEMBLE, KEY, PARENT, SPEC
from search.study.reference import Reference, Score, read_reference, store_reference
from search.study.replication import choose, find_replicates
from search.study.status import status_of
from search.studyfile.terms import BudgetSpec
from tests.search.study.made_replicates import SPEC as MADE
from tests.search.study.made_replicates import finish as end_run


def _with_budget(study: optuna.Study, **terms: Any) -> optuna.Study:
    spec = MADE.model_copy(update={"budget": BudgetSpec.model_validate(terms)})
    study.set_user_attr(SPEC, spec.to_json())
    return study


def test_the_search_has_its_share_of_every_term() -> None:
    """Trials, hours, and the time from the plan's beginning to the end."""
    began = datetime(2026, 3, 1, tzinfo=UTC)
    budget = BudgetSpec(trials=10, hours=5.0, until=began + timedelta(hours=10))
    share = EnsemblePlan(began.isoformat()).search_budget(budget)
    assert (share.trials, share.hours, share.until) == (6, 3.0, began + timedelta(hours=6))
    assert EnsemblePlan(began.isoformat()).search_budget(BudgetSpec()) == BudgetSpec()


def test_a_plan_and_the_ensembles_score_do_not_replace_each_other(study: optuna.Study) -> None:
    """Both are kept with the study, in either order; a plan that was stored under the score's name is still found, and
    a score there is no plan."""
    plan, ensemble = EnsemblePlan("2026-03-01T00:00:00+00:00", runs=3), Reference(Score(0.3), None, ("made#1",))
    plan.store(study)
    store_reference(study, ENSEMBLE, ensemble)
    assert EnsemblePlan.of(study.user_attrs) == plan and read_reference(study.user_attrs, ENSEMBLE) == ensemble
    plan.store(study)
    assert EnsemblePlan.of(study.user_attrs) == plan and read_reference(study.user_attrs, ENSEMBLE) == ensemble
    assert EnsemblePlan.of({ENSEMBLE: asdict(plan)}) == plan
    assert EnsemblePlan.of({ENSEMBLE: study.user_attrs[ENSEMBLE]}) is None


def test_a_study_without_a_budget_has_nothing_to_divide(study: optuna.Study) -> None:
    """The message says what to write."""
    with pytest.raises(SearchError, match="has none: add budget"):
        begin_plan(_with_budget(study))


def test_a_plan_is_begun_once(study: optuna.Study) -> None:
    """The same command again finds the stored plan."""
    first = begin_plan(_with_budget(study, trials=40))
    assert begin_plan(study) == first == EnsemblePlan.of(study.user_attrs)


def test_the_phases_follow_one_another(study: optuna.Study) -> None:
    """24 of 40 trials searched: sixteen replicates are left, one of each of the best eight first."""
    plan = begin_plan(_with_budget(study, trials=40))
    assert phase_of(plan, attempts(study)) == "search"
    plan = choose_repeated(study, plan, attempts(study))
    assert len(plan.chosen) == plan.repeated == CONFIGURATIONS and (plan.seeds, plan.runs) == (1, 16)
    best = choose(study)[:CONFIGURATIONS]
    assert list(plan.chosen) == [run.number for run in best]
    assert queue_first(study, plan) == 8 and queue_first(study, plan) == 0
    assert phase_of(plan, attempts(study)) == "replicates"
    assert runs_left(study, chosen_runs(study, plan), attempts(study)) == 8
    assert describe_plan(plan, attempts(study)) == "replicates of the best 8 configurations, 0 of 8 ended"
    assert set(seeds_of(study, chosen_runs(study, plan)).values()) == {2}
    plan = finish(study, plan, "the budget is spent")
    assert phase_of(plan, attempts(study)) == "export" and EnsemblePlan.of(study.user_attrs) == plan


def test_a_small_rest_repeats_fewer(study: optuna.Study) -> None:
    """Three replicates go to the three best, with none left nothing is queued; the ensemble is made of the best eight
    all the same."""
    plan = choose_repeated(study, begin_plan(_with_budget(study, trials=27)), [])
    assert (len(plan.chosen), plan.repeated, plan.seeds, plan.runs) == (CONFIGURATIONS, 3, 1, 3)
    assert plan.first == plan.chosen[:3]
    plan = choose_repeated(study, EnsemblePlan(plan.began).store(_with_budget(study, trials=24)), [])
    assert (plan.seeds, plan.runs) == (0, 0) and queue_first(study, plan) == 0
    assert len(plan.chosen) == CONFIGURATIONS


def test_hours_are_turned_into_runs(study: optuna.Study) -> None:
    """By what the chosen configurations' own runs took; queued replicates count as if they were done."""
    chosen = [replace(run, seconds=360.0) for run in chosen_runs(study, EnsemblePlan("", chosen=(0, 1)))]
    assert runs_left(_with_budget(study, hours=0.5), chosen, []) == 5  # the made search took no time
    queue_first(study, EnsemblePlan("", chosen=(0, 1), seeds=1))
    assert runs_left(study, chosen, attempts(study)) == 3
    assert runs_left(_with_budget(study, until=datetime.now(UTC) - timedelta(1)), chosen, attempts(study)) == 0


def test_the_budget_of_a_plan_counts_its_replicates(study: optuna.Study) -> None:
    """What `status` shows as used is what the plan has left counted off, queued replicates apart."""
    plan = choose_repeated(study, begin_plan(_with_budget(study, trials=40)), [])
    queue_first(study, plan)
    target = find_replicates(study)
    assert target is not None
    for trial in target.get_trials(states=(TrialState.WAITING,))[:3]:
        assert target._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        end_run(target, optuna.Trial(target, trial._trial_id))
    now = status_of(study)
    assert (now.budget.trials, now.budget.replicates, now.budget.spent) == (27, 3, None)
    assert headline(read_study(study)).budget.startswith("27 of 40 trials, 3 of them replicates, ")
    finish(study, plan, "the budget is spent")
    assert status_of(study).budget.spent == "the budget is spent" and status_of(study).plan is not None


def test_workers_that_choose_at_the_same_moment_choose_the_same(study: optuna.Study) -> None:
    """One that read the study before another had chosen and queued does not take the queued ones off the budget."""
    plan = begin_plan(_with_budget(study, trials=32))
    seen, before = attempts(study), EnsemblePlan.of(study.user_attrs)
    assert before == plan
    first = choose_repeated(study, plan, seen)
    assert queue_first(study, first) == 8
    assert choose_repeated(study, before, seen) == first == EnsemblePlan.of(study.user_attrs)


def test_the_search_goes_on_until_its_share_is_spent_and_nothing_runs(study: optuna.Study) -> None:
    """What is queued beyond the share is never taken, so nobody waits for it; what runs is waited for."""
    plan = begin_plan(_with_budget(study, trials=50))
    assert searches(study, plan)
    _with_budget(study, trials=40)
    assert not searches(study, plan)
    study.enqueue_trial({"hidden_size": 16, "lr": 1e-3})
    assert not searches(study, plan)
    study.ask()
    assert searches(study, plan)


def test_replicates_are_counted_by_configuration(study: optuna.Study) -> None:
    """More replicates of one configuration than the plan asks for do not stand for those of another; a replicate whose
    parent is another trial of the same configuration counts."""
    plan = EnsemblePlan("", chosen=(4, 7), keys=("a", "b"), repeated=2, seeds=1)
    ended = [create_trial(value=0.1, user_attrs={KEY: "a", PARENT: parent}) for parent in (4, 4, 2)]
    assert plan.ended_of(ended) == (1, 2) and phase_of(plan, ended) == "replicates"
    ended.append(create_trial(value=0.1, user_attrs={KEY: "b", PARENT: 3}))
    assert plan.ended_of(ended) == (2, 2) and phase_of(plan, ended) == "ensemble"
    old = replace(plan, keys=(), repeated=0)  # as the first versions stored it
    assert old.first == (4, 7) and old.ended_of(ended) == (1, 1)
