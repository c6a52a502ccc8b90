"""Promises about configurations that are drawn again: which earlier trial counts, and when a space is used up."""

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from search.study.balanced import balanced, value_at
from search.study.budget import spent
from search.study.record import DIVERGED, ERROR, FAILURE, KEY, REDRAWN, REPEATED, state_of
from search.study.repeated import AT_RANDOM, EXHAUSTED, ran_before, repeats_in_a_row
from search.study.samplers import build_sampler
from search.studyfile.spec import StudySpec
from search.studyfile.terms import BudgetSpec
from storage.claims import REASON, Batch
from tests.search.study.frozen_trials import frozen


def _withdrawn(number: int, reason: str = REDRAWN):  # type: ignore[no-untyped-def]
    return frozen(Batch(user_attrs={REASON: reason}, state=TrialState.FAIL), number=number)


def test_the_complete_trial_is_the_one_to_repeat() -> None:
    """Of several trials of the configuration; one that failed by an error does not count, one that diverged does."""
    key = {KEY: "a"}
    pruned = frozen(Batch(user_attrs=key), TrialState.PRUNED, 1)
    complete = frozen(Batch(user_attrs=key), TrialState.COMPLETE, 2)
    broken = frozen(Batch(user_attrs={**key, FAILURE: ERROR}), TrialState.FAIL, 3)
    diverged = frozen(Batch(user_attrs={**key, FAILURE: DIVERGED}), TrialState.PRUNED, 4)
    assert ran_before([pruned, complete], "a", 9) is complete
    assert ran_before([pruned], "a", 9) is pruned
    assert ran_before([diverged], "a", 9) is diverged
    assert ran_before([frozen(Batch(user_attrs=key), TrialState.RUNNING, 5)], "a", 9) is not None
    assert ran_before([broken], "a", 9) is None
    assert ran_before([pruned], "b", 9) is None
    assert ran_before([pruned], "a", 1) is None  # itself


def test_a_withdrawn_trial_has_not_failed() -> None:
    """Its state is a word of its own, and only the one that a replicate stands for counts as begun."""
    assert state_of(_withdrawn(0)) == "withdrawn"
    budget = BudgetSpec(trials=2)
    assert spent(budget, [_withdrawn(0), _withdrawn(1)]) is None
    assert spent(budget, [_withdrawn(0, REPEATED), _withdrawn(1, REPEATED)]) == "2 of 2 trials are done or running"


def test_a_space_that_is_used_up_ends_the_study() -> None:
    """After so many vain draws in a row; one run among them shows that there is more."""
    vain = [_withdrawn(i) for i in range(EXHAUSTED)]
    assert "had run before" in str(spent(BudgetSpec(), vain))
    run = frozen(Batch(), TrialState.COMPLETE, 5)
    assert spent(BudgetSpec(), [*vain[:5], run, *vain[6:]]) is None
    assert repeats_in_a_row([*vain, frozen(Batch(), TrialState.RUNNING, EXHAUSTED)]) == EXHAUSTED


def test_vain_draws_are_followed_by_random_ones() -> None:
    """What the sampler has learned leads nowhere new: the next draws are those of random search."""
    spec = StudySpec.from_json({"name": "s", "parameters": {"num_layers": {"choices": [1, 2, 3, 4]}}})
    kinds = {"num_layers": CategoricalDistribution([1, 2, 3, 4])}
    study = optuna.create_study(direction="maximize", sampler=build_sampler(spec))
    for i in range(30):
        known = {"params": {"num_layers": 1 + i % 4}, "distributions": kinds}
        study.add_trial(optuna.create_trial(**known, value=float(i % 4 == 2)))

    def differ(draws: int = 12) -> int:
        asked = [study.ask(kinds) for _ in range(draws)]
        found = [t.params["num_layers"] != value_at(kinds["num_layers"], _balanced(t.number)) for t in asked]
        for trial in asked:
            study.tell(trial, state=TrialState.FAIL)
        return sum(found)

    assert differ() > 0
    for _ in range(AT_RANDOM):
        study.add_trial(optuna.create_trial(state=TrialState.FAIL, user_attrs={REASON: REDRAWN}))
    study.ask(kinds)
    assert all(_drawn(study, kinds) for _ in range(12))


def _balanced(number: int) -> float:
    return balanced(0, "num_layers", number)


def _drawn(study: optuna.Study, kinds: dict[str, CategoricalDistribution]) -> bool:
    """Whether the next draw is that of random search; the trial stays under way, which ends no row of vain draws."""
    trial = study.ask(kinds)  # type: ignore[arg-type]
    return bool(trial.params["num_layers"] == value_at(kinds["num_layers"], _balanced(trial.number)))
