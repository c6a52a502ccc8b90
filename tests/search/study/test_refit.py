"""Refits: what is ordered, from which runs, and that nothing is ordered twice or counted as validated."""

from __future__ import annotations

import optuna
import pytest

from search.errors import SearchError
from search.study.record import read_trial
from search.study.refit import choose_ranked, order_for, refit
from search.study.replication import choose, find_replicates, pool, rank_study, replicate
from search.study.runs import refit_runs
from tests.search.study.made_replicates import finish, serve

optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_refits_wait_in_the_queue_of_the_replicates(study: optuna.Study) -> None:
    """Each configuration gets the same seeds; asking again adds what is missing; the two kinds are told apart."""
    replicate(study, choose(study, top=3), seeds=3)
    serve(study)
    chosen = choose_ranked(study, 2)
    assert [row.key for row in chosen] == [row.key for row in rank_study(study).rows[:2]]
    assert (refit(study, chosen, 2).queued, refit(study, chosen, 3).queued) == (4, 2)
    again = refit(study, chosen, 3)
    assert (again.queued, again.present) == (0, 6)
    assert refit(study, chosen, 1, with_report=True).queued == 2
    target = find_replicates(study)
    assert target is not None
    orders = [record.refit for trial in target.trials if (record := read_trial("s.seeds", trial)).refit]
    assert len(orders) == 8 and sum(order.with_report for order in orders if order) == 2


def test_a_refit_is_no_evidence(study: optuna.Study) -> None:
    """It has no score of its own: the ranking stays what it was, and `replicate` does not take it for a replicate."""
    replicate(study, choose(study, top=3), seeds=3)
    serve(study)
    before = rank_study(study)
    refit(study, choose_ranked(study, 3), 2)
    serve(study)
    target = find_replicates(study)
    assert target is not None and len(refit_runs(target)) == 6
    assert rank_study(study) == before and not any(run.refit for run in pool(study))
    assert replicate(study, choose(study, top=3), seeds=3).present == 6


def test_the_order_is_what_the_runs_say(study: optuna.Study) -> None:
    """Best epochs of all runs, and learning rates only where the schedule follows scores."""
    row = rank_study(study).rows[0]
    order = order_for(row, ("t0", "t1"))
    assert [run.best for run in order.runs] == [(run.best_epoch or 0) + 1 for run in row.runs]
    assert order.promised == pytest.approx(row.mean)


def test_bad_requests_are_refused(study: optuna.Study) -> None:
    """More configurations than there are, and trials that are not ranked."""
    with pytest.raises(SearchError, match="--top 99 asks for more configurations"):
        choose_ranked(study, 99)
    with pytest.raises(SearchError, match="trial 77 of study 's' is no complete run"):
        choose_ranked(study, None, [77])


def test_finish_is_a_workers(study: optuna.Study) -> None:
    """The helper above ends trials as workers do: with a best epoch in their record."""
    trial = study.ask()
    finish(study, trial)
    assert read_trial("s", study.trials[-1]).best_epoch == 0
