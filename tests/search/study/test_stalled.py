"""Promises about a study that no longer gets better."""

from optuna.trial import FrozenTrial, TrialState

from search.study.budget import spent
from search.study.stalled import SUGGEST_AFTER, standstill, suggestion
from search.studyfile.terms import BudgetSpec
from storage.claims import Batch
from tests.search.study.frozen_trials import frozen


def _trial(number: int, value: float, state: TrialState = TrialState.COMPLETE, seconds: float = 360.0) -> FrozenTrial:
    attributes = {"seconds": seconds, "key": f"k{number}", "device": "cpu"}
    trial = frozen(Batch(user_attrs=attributes, intermediate={0: value}), state, number)
    trial.values = [value]
    return trial


def _budget(**terms: float) -> BudgetSpec:
    return BudgetSpec.model_validate({"stalled": terms})


def test_trials_without_a_better_score_end_the_study() -> None:
    """A score within the noise does not count as better; pruned trials count as spent."""
    trials = [_trial(0, 0.30), _trial(1, 0.31), _trial(2, 0.3115), _trial(3, 0.1, TrialState.PRUNED), _trial(4, 0.2)]
    assert spent(_budget(trials=4), trials) is None
    said = "it has stalled: none of the last 3 trials (0.30 hours) was better by 0.002 than trial 1 with 0.3100"
    assert spent(_budget(trials=3), trials) == said
    assert spent(_budget(trials=3, gain=0.001), trials) is None  # trial 2 was better


def test_a_score_that_a_user_added_does_not_end_the_study() -> None:
    """Nothing is compared with it, and it has taken none of the study's time."""
    added = [frozen(Batch(), TrialState.COMPLETE, number) for number in (1, 2, 3)]
    for trial in added:
        trial.values = [99.0]
    trials = [_trial(0, 0.30), *added, _trial(4, 0.31)]
    assert spent(_budget(trials=3), trials[:4]) is None
    found = standstill(trials, 0.002)
    assert found is not None and (found.best, found.trials) == (4, 0)


def test_hours_without_a_better_score_end_the_study() -> None:
    """Hours are those of the trials since."""
    trials = [_trial(0, 0.3), _trial(1, 0.2), _trial(2, 0.1)]
    assert spent(_budget(hours=0.21), trials) is None
    assert "it has stalled" in str(spent(_budget(hours=0.2), trials))


def test_small_gains_add_up() -> None:
    """A study that creeps upwards has not stalled."""
    found = standstill([_trial(i, 0.3 + 0.0015 * i) for i in range(9)], 0.002)
    assert found is not None and found.best == 8 and found.trials == 0
    assert standstill([_trial(0, 0.3, TrialState.PRUNED)], 0.002) is None


def test_the_suggestion_waits_for_a_long_standstill() -> None:
    """As many trials without a better one as before it, and thirty at least."""
    early = [_trial(i, 0.3 + 0.01 * i) for i in range(SUGGEST_AFTER + 5)]
    late = [_trial(len(early) + i, 0.2) for i in range(SUGGEST_AFTER + 5)]
    assert suggestion([*early, *late[:-1]]) is None
    assert "none of the last 35 trials" in str(suggestion([*early, *late]))
