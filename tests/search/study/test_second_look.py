"""Promises of a second look: whose state is kept, which run is taken up again, and what the queue then holds."""

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.budget import hours_of, without_end
from search.study.record import CONTINUES, KEPT_STATE, KEY, RESUME, SEED, stored_state_of
from search.study.second_look import KeptState, promises, queue_second_look, taken_up, worth_keeping
from search.studyfile.spec import StudySpec
from search.studyfile.terms import BudgetSpec
from storage.optuna_internals import FIXED_PARAMS

KINDS = {"lr": FloatDistribution(1e-4, 1e-1, log=True)}
SIZE = 1_000_000


def _spec(share: float = 0.2, megabytes: float = 2.0) -> StudySpec:
    parameters = {"lr": {"float": [1e-4, 1e-1], "log": True}, "epochs": 8}
    look = {"share": share, "megabytes": megabytes}
    document = {"name": "s", "parameters": parameters, "pruner": {"name": "halving"}, "second_look": look}
    return StudySpec.from_json(document)


def _add(study: optuna.Study, curve: list[float], *, pruned: bool = False, kept: bool = True, lr: float = 1e-2) -> None:
    """A trial with this curve; a pruned one with its state kept."""
    number = len(study.get_trials(deepcopy=False))
    attrs = {KEY: f"k{number}", SEED: number, "configuration": {}, "seconds": 36.0 * len(curve)}
    if pruned and kept:
        attrs[KEPT_STATE] = {"artifact": f"a{number}", "epoch": len(curve), "size": SIZE}
    study.add_trial(
        create_trial(
            state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
            value=max(curve),
            params={"lr": lr},
            distributions=KINDS,
            user_attrs=attrs,
            intermediate_values=dict(enumerate(curve)),
        )
    )


@pytest.fixture
def looked() -> optuna.Study:
    """Six complete runs that rise by .1 after their second epoch, and four pruned after it, from .1 to .25."""
    study = optuna.create_study(direction="maximize")
    for i in range(6):
        start = 0.1 + 0.01 * i
        _add(study, [start - 0.05, start, *[start + 0.1] * 6])
    for start in (0.1, 0.25, 0.2, 0.12):
        _add(study, [start - 0.05, start], pruned=True)
    return study


def _trials(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False)


def test_a_forecast_says_what_a_pruned_run_would_have_reached(looked: optuna.Study) -> None:
    """More than it had, in the order of what it had; a study with too few complete runs gives what it had."""
    found = promises(_trials(looked), 8)
    assert set(found) == {6, 7, 8, 9}
    assert found[7] > found[8] > found[9] and found[7] > 0.25
    few = optuna.create_study(direction="maximize")
    _add(few, [0.3, 0.2], pruned=True)
    assert promises(_trials(few), 8) == {0: 0.3}


def test_the_most_promising_states_are_kept(looked: optuna.Study) -> None:
    """As many as there is room for; without a share none."""
    assert worth_keeping(_trials(looked), _spec(megabytes=2.0)) == {7, 8}
    assert worth_keeping(_trials(looked), _spec(megabytes=0.5)) == set()
    assert worth_keeping(_trials(looked), _spec(share=0.0)) == set()


def test_the_best_is_taken_up_once(looked: optuna.Study) -> None:
    """With its parameters, seed, reports and state; the next one follows."""
    there = {"a6", "a7", "a8", "a9"}
    assert queue_second_look(looked, _spec(), there) == 7
    waiting = _trials(looked)[-1]
    assert waiting.state == TrialState.WAITING and waiting.user_attrs == {CONTINUES: 7, KEY: "k7", SEED: 7}
    assert waiting.system_attrs == {FIXED_PARAMS: {"lr": 1e-2}, RESUME: {"artifact": "a7", "epoch": 2}}
    assert waiting.intermediate_values == {0: 0.2, 1: 0.25}
    stored = stored_state_of(waiting)
    assert stored is not None and (stored.artifact, stored.epoch) == ("a7", 2)
    assert queue_second_look(looked, _spec(), there) == 8 and taken_up(_trials(looked)) == {7, 8}
    asked = looked.ask(KINDS)
    assert asked.params == {"lr": 1e-2} and asked.user_attrs[CONTINUES] == 7


def test_a_state_that_is_gone_is_not_taken_up(looked: optuna.Study) -> None:
    """Nothing is queued that would have to start over."""
    assert queue_second_look(looked, _spec(), {"a8"}) == 8
    assert queue_second_look(looked, _spec(), {"a8"}) is None


def test_its_hours_are_counted_once(looked: optuna.Study) -> None:
    """The trial that goes on has the seconds of its first part too."""
    before = hours_of(_trials(looked))
    attrs = {CONTINUES: 7, "seconds": 36.0 * 8}
    looked.add_trial(create_trial(state=TrialState.COMPLETE, value=0.4, user_attrs=attrs))
    assert hours_of(_trials(looked)) == pytest.approx(before + 36.0 * 6 / 3600)


def test_the_last_part_of_a_budget() -> None:
    """Trials and hours lose the share, a moment stays."""
    assert without_end(BudgetSpec(trials=20, hours=10.0), 0.1) == BudgetSpec(trials=18, hours=9.0)
    assert without_end(BudgetSpec(), 0.1) == BudgetSpec()


def test_a_damaged_record_is_no_state() -> None:
    """A running trial keeps none, whatever it says."""
    trial = create_trial(state=TrialState.RUNNING, user_attrs={KEPT_STATE: {"artifact": "a", "epoch": 1, "size": 1}})
    assert KeptState.of(trial) is None
