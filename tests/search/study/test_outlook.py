"""Where a study stands: counts, the best run and the time that is left, against sums done by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.outlook import duration, outlook_of
from search.study.plan import EnsemblePlan
from tests.search.study.made_trials import spec

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(2e-4, 3e-3, log=True),
    "weight_decay.or": CategoricalDistribution((0.0, "range")),
    "num_layers": CategoricalDistribution((1, 2, 3)),
}
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def trial(number: int, state: TrialState, seconds: float, value: float | None = None, **attrs: Any) -> FrozenTrial:
    """A trial that took so many seconds, ended in the order of its number."""
    foreign = attrs.pop("foreign", False)  # added by a user's own script
    begun = {} if foreign else {"key": f"k{number}", "device": "cpu"}
    params = {"lr": 1e-3, "weight_decay.or": 0.0, "num_layers": 2}
    made = create_trial(
        state=state,
        value=value,
        params=params,
        distributions={name: DISTRIBUTIONS[name] for name in params},
        user_attrs={"seconds": seconds, **begun, **attrs},
        intermediate_values={0: 0.1} if state == TrialState.PRUNED else None,
    )
    made.number = number
    if state.is_finished():
        made.datetime_complete = datetime(2029, 1, 1) + timedelta(minutes=number)
    return made


def test_the_time_left_of_a_budget_of_trials() -> None:
    """Trials to come take the mean of those that ended; running ones have done a part; workers share the rest."""
    trials = [
        trial(0, TrialState.COMPLETE, 100, 0.2),
        trial(1, TrialState.COMPLETE, 300, 0.3),
        trial(2, TrialState.RUNNING, 50),
        trial(3, TrialState.RUNNING, 500),
    ]
    found = outlook_of(spec(budget={"trials": 10}), trials, 2, NOW)
    assert (found.begun, found.limit, found.running, found.best, found.best_trial) == (4, 10, 2, 0.3, 1)
    assert found.seconds_left == pytest.approx((8 * 200 - 50 - 200) / 2)
    assert found.words == "gru 2x64, mse, lr 0.001"
    assert found.line() == "trial 4 of 10, 2 running, about 11 min to the end of the budget"


def test_the_earliest_limit_counts() -> None:
    """Hours are used by all workers at once; a date does not wait for any."""
    trials = [trial(0, TrialState.COMPLETE, 3600, 0.2), trial(1, TrialState.RUNNING, 0)]
    assert outlook_of(spec(budget={"hours": 5}), trials, 2, NOW).seconds_left == pytest.approx(2 * 3600)
    until = {"hours": 5, "until": (NOW + timedelta(minutes=30)).isoformat()}
    assert outlook_of(spec(budget=until), trials, 2, NOW).seconds_left == pytest.approx(1800)
    assert outlook_of(spec(budget={"hours": 1}), trials, 2, NOW).seconds_left == 0


def test_what_is_not_known_is_not_said() -> None:
    """No worker, no ended trial or no limit: no time; no complete trial: no best."""
    running = [trial(0, TrialState.RUNNING, 10)]
    ended = [trial(0, TrialState.COMPLETE, 10, 0.1)]
    for trials, workers, budget in ((running, 1, {"trials": 5}), (ended, 0, {"trials": 5}), (ended, 1, {})):
        assert outlook_of(spec(budget=budget), trials, workers, NOW).seconds_left is None
    empty = outlook_of(spec(), running, 1, NOW)
    assert empty.best is None and empty.best_line() == "none yet" and empty.line() == "1 trials, 1 running"


def test_no_time_is_told_while_replicates_are_trained() -> None:
    """The trials of the search do not tell how long they take: those that wait or run are in no budget, those of a plan
    end when the ensemble gains no more. Once they have ended, the search's time is told again."""
    trials = [trial(0, TrialState.COMPLETE, 100, 0.2), trial(1, TrialState.RUNNING, 50)]
    terms = spec(budget={"trials": 10, "hours": 5, "until": (NOW + timedelta(hours=1)).isoformat()})
    for state in (TrialState.WAITING, TrialState.RUNNING):
        assert outlook_of(terms, trials, 2, NOW, replicates=[trial(0, state, 0)]).seconds_left is None
    ended = [trial(0, TrialState.COMPLETE, 100, 0.2)]
    told = outlook_of(terms, trials, 2, NOW, replicates=ended)
    assert (told.begun, told.seconds_left) == (2, pytest.approx((9 * 100 - 50) / 2))
    plan = EnsemblePlan(NOW.isoformat(), chosen=(0,), keys=("k",), repeated=1, seeds=4, runs=6)
    for replicates in ([], ended, [*ended, trial(1, TrialState.RUNNING, 10)]):
        found = outlook_of(terms, trials, 2, NOW, replicates=replicates, plan=plan)
        assert (found.begun, found.limit, found.seconds_left) == (2 + len(replicates), 10, None)
    assert outlook_of(terms, trials, 0, NOW, plan=EnsemblePlan(NOW.isoformat(), ended="why")).seconds_left is None


def test_while_a_plan_searches_its_replicates_are_full_runs() -> None:
    """Pruned trials are short; two fifths of the budget are replicates, which no pruner ends."""
    trials = [
        trial(0, TrialState.COMPLETE, 100, 0.2),
        trial(1, TrialState.PRUNED, 20),
        trial(2, TrialState.RUNNING, 10),
    ]
    terms, plan = spec(budget={"trials": 10}), EnsemblePlan(NOW.isoformat(), share=0.6)
    assert outlook_of(terms, trials, 1, NOW).seconds_left == pytest.approx(8 * 60 - 10)
    assert outlook_of(terms, trials, 1, NOW, plan=plan).seconds_left == pytest.approx(4 * 60 - 10 + 4 * 100)


def test_a_recorded_configuration_comes_first() -> None:
    """What a worker recorded is taken as it is."""
    recorded = [trial(0, TrialState.COMPLETE, 10, 0.1, configuration={"a": 1})]
    assert outlook_of(spec(), recorded, 1, NOW).words == "a 1"


def test_a_score_that_a_user_added_is_not_the_best() -> None:
    """Nobody knows what was trained for it; a rank does not show it either."""
    added = trial(1, TrialState.COMPLETE, 0, 99.0, foreign=True)
    taken = trial(2, TrialState.COMPLETE, 0, 98.0, foreign=True, key="k", baseline=1)  # from our queue, by a script
    assert outlook_of(spec(), [trial(0, TrialState.COMPLETE, 10, 0.1), added, taken], 1, NOW).best == 0.1
    assert outlook_of(spec(), [added], 1, NOW).best_line() == "none yet"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(40, "40 s"), (720, "12 min"), (7800, "2 h 10 min"), (270_000, "3 d 3 h"), (3590, "1 h 0 min")],
)
def test_durations(seconds: float, words: str) -> None:
    """Two units at most."""
    assert duration(seconds) == words
