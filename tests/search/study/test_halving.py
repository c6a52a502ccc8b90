"""Halving judges at 1, 4, 16 epochs, compares like schedules early, and makes dear epochs earn their price."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.halving import HalvingPruner, relative_price
from search.study.pruners import build_pruner, wanted_reports
from search.study.record import DIVERGED, FAILURE, WORST, epochs_of
from search.study.writers import write_failure
from search.studyfile.spec import StudySpec
from search.work.session import NEEDED
from storage.backends.grpc_server import make_server
from storage.backends.registry import open_store
from storage.claims import Claim
from storage.optuna_internals import trial_id_of
from storage.store import Store
from storage.worker.background import BackgroundStorage

SCHEDULES = optuna.distributions.CategoricalDistribution(["plateau", "cosine"])


def spec(**changes: object) -> StudySpec:
    parameters = {"lr": {"float": [2e-4, 3e-3], "log": True}, "epochs": 24}
    return StudySpec.from_json({"name": "s", "parameters": parameters, **changes})


def study_of(runs: list[tuple[float, str, float]], epochs: int = 24, by_seconds: bool = False) -> optuna.Study:
    """A study with one finished run for each (steady score, schedule, seconds of an epoch)."""
    pruner = HalvingPruner(planned=24, first=1, by_seconds=by_seconds)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for score, schedule, seconds in runs:
        trial = started(study, schedule, seconds * epochs)
        for epoch in range(epochs):
            trial.report(score, epoch)
        study.tell(trial, score)
    return study


def started(study: optuna.Study, schedule: str = "plateau", seconds: float = 1.0, **attributes: object) -> optuna.Trial:
    study.enqueue_trial({"scheduler": schedule}, user_attrs={"seconds": seconds, "device": "t4", **attributes})
    return study.ask({"scheduler": SCHEDULES})


def pruned_after(study: optuna.Study, trial: optuna.Trial, score: float) -> list[int]:
    """All epochs after which the pruner would end a run of a steady score."""
    found = []
    for epoch in range(24):
        trial.report(score, epoch)
        if trial.should_prune():
            found.append(epoch + 1)
    return found


def test_a_run_passes_a_rung_among_the_best_quarter() -> None:
    """The third of nine runs is stopped at every rung, the second at none."""
    study = study_of([(0.1 * i, "plateau", 1.0) for i in range(8)])
    assert pruned_after(study, started(study), 0.65) == []
    study = study_of([(0.1 * i, "plateau", 1.0) for i in range(8)])
    assert pruned_after(study, started(study), 0.45) == [1, 4, 16]


def test_pruned_runs_count_at_the_rungs_that_they_reached() -> None:
    """A run is compared with all that got as far, not with the survivors alone."""
    study = study_of([(0.3, "plateau", 1.0)])
    for _ in range(6):
        trial = started(study)
        trial.report(0.1, 0)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    assert pruned_after(study, started(study), 0.29) == [4, 16]


def test_runs_that_diverged_do_not_open_the_rungs() -> None:
    """What they told the sampler is no score: forty of them leave the others as many places as before."""
    study = study_of([(0.1 * i, "plateau", 1.0) for i in range(8)])
    for _ in range(40):
        batch = write_failure(DIVERGED, "diverged", 0)
        trial = started(study, **batch.user_attrs)
        trial.report(batch.intermediate[0], 0)
        study.tell(trial, state=batch.state)
    assert pruned_after(study, started(study), 0.45) == [1, 4, 16]


def test_a_slow_schedule_is_compared_with_its_like_in_the_first_half() -> None:
    """Cosine runs below every plateau run pass the early rungs; at two thirds of the plan all runs are compared."""
    study = study_of([(0.5 + 0.01 * i, "plateau", 1.0) for i in range(8)] + [(0.2, "cosine", 1.0)] * 3)
    assert pruned_after(study, started(study, "cosine"), 0.3) == [16]


def test_a_baseline_is_never_pruned() -> None:
    """What a study is compared with runs to its end."""
    study = study_of([(0.5, "plateau", 1.0)] * 8)
    assert pruned_after(study, started(study, baseline=1), 0.1) == []


def test_dear_epochs_must_be_better_where_seconds_count() -> None:
    """Second of nine passes at the usual price and not at three times that, where only the best does: attention must
    earn its time. A budget of trials does not ask."""
    runs = [(0.1 * i, "plateau", 1.0) for i in range(8)]

    def stopped(seconds: float, by_seconds: bool, score: float = 0.65) -> list[int]:
        study = study_of(runs, by_seconds=by_seconds)
        trial = started(study, seconds=0.0)
        found = []
        for epoch in range(24):  # the worker's measured seconds grow with the epochs
            trial.set_user_attr("seconds", seconds * (epoch + 1))
            trial.report(score, epoch)
            found += [epoch + 1] if trial.should_prune() else []
        return found

    assert stopped(1.0, by_seconds=True) == [] and stopped(3.0, by_seconds=True) == [1, 4, 16]
    assert stopped(3.0, by_seconds=True, score=0.75) == [] and stopped(3.0, by_seconds=False) == []
    assert build_pruner(spec(pruner={"name": "halving"}, budget={"hours": 1.0}))._by_seconds  # type: ignore[attr-defined]
    assert not build_pruner(spec(pruner={"name": "halving"}))._by_seconds  # type: ignore[attr-defined]


def test_a_price_is_relative_to_the_same_device() -> None:
    """A run on a slow card is not dear because others run on fast ones."""
    study = study_of([(0.1, "plateau", 1.0)] * 4)
    slow = started(study, seconds=50.0, device="cpu")
    slow.report(0.1, 0)
    trials = study.get_trials(deepcopy=False)
    assert relative_price(trials[:4], trials[-1], 1) == 1.0


def test_a_score_that_is_no_number_ends_a_run() -> None:
    """It is below every other."""
    study = study_of([(0.1, "plateau", 1.0)] * 8)
    assert 1 in pruned_after(study, started(study), float("nan"))


@pytest.fixture(params=["sqlite", "postgresql", "grpc"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """A database as the other workers have opened it, and as one worker has."""
    postgres = request.param == "postgresql"
    theirs = open_store(request.getfixturevalue("postgres_url") if postgres else f"sqlite:///{tmp_path / 'study.db'}")
    if request.param != "grpc":
        yield theirs, theirs
        return
    server, port = make_server(theirs, "127.0.0.1", 0)
    server.start()
    yield theirs, open_store(f"grpc://127.0.0.1:{port}")
    server.stop(None)


def a_trial(random: Random, number: int, state: TrialState, epochs: int) -> FrozenTrial:
    """Scores at random, on one of two devices, at one of four prices, and now and then one that diverged."""
    failed = state == TrialState.PRUNED and number % 5 == 0
    reports = {epoch: random.random() for epoch in range(epochs)} | ({epochs: WORST} if failed else {})
    attributes = {"seconds": random.choice([1.0, 1.5, 2.5, 4.0]) * epochs, "device": random.choice(["t4", "h100"])}
    return create_trial(
        state=state,
        value=random.random() if state == TrialState.COMPLETE else None,
        params={"scheduler": random.choice(SCHEDULES.choices)},
        distributions={"scheduler": SCHEDULES},
        intermediate_values=reports,
        user_attrs=attributes | ({FAILURE: DIVERGED} if failed else {}),
    )


@pytest.mark.parametrize("budget", [pytest.param({"trials": 99}, marks=pytest.mark.soak), {"hours": 9.0}])
def test_a_brief_reading_changes_no_decision(budget: dict[str, float], stores: tuple[Store, Store]) -> None:
    """A worker reads no more of other trials than halving compares: it decides of every run as it would with whole
    trials, at each of several looks, between which the others report, end and begin."""
    terms = spec(pruner={"name": "halving"}, budget=budget, parameters={"lr": 1e-3, "epochs": 60})
    pruner, random, (theirs, mine) = build_pruner(terms), Random(11), stores
    assert isinstance(pruner, HalvingPruner) and pruner.rungs == (1, 4, 16)
    whole = optuna.create_study(storage=theirs.storage, study_name="s", direction="maximize")
    study_id = mine.storage.get_study_id_from_name("s")
    worker = BackgroundStorage(mine, study_id, Claim("host:1"), attributes=NEEDED, wanted=wanted_reports(terms))
    brief, decisions = optuna.Study("s", worker), list[bool]()
    for _ in range(4):
        for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING):
            for number in range(10):
                epochs = 60 if state == TrialState.COMPLETE else random.randrange(1, 60)
                whole.add_trial(a_trial(random, number, state, epochs))
        worker.others.read(running=False)
        for rung in pruner.rungs * 4:
            own = a_trial(random, 1, TrialState.RUNNING, rung)
            own.number = 10_000
            decisions.append(pruner.prune(whole, own))
            assert pruner.prune(brief, own) == decisions[-1]
        for trial in whole.get_trials(states=(TrialState.RUNNING,)):
            trial_id, first = trial_id_of(trial), len(trial.intermediate_values)
            for epoch in range(first, min(60, first + random.randrange(12))):
                theirs.storage.set_trial_intermediate_value(trial_id, epoch, random.random())
                theirs.storage.set_trial_user_attr(trial_id, "seconds", 2.0 * (epoch + 1))
            if random.random() < 0.3:
                theirs.storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [random.random()])
    assert 0 < sum(decisions) < len(decisions)
    known = [t for t in worker.known() if t.state != TrialState.RUNNING]
    assert max(len(t.intermediate_values) for t in known) == 17  # of up to 60


def test_epochs_are_counted_from_the_last_report() -> None:
    """What a run that diverged tells the sampler is no epoch."""
    random = Random(1)
    assert epochs_of(a_trial(random, 1, TrialState.RUNNING, 0)) == 0
    assert epochs_of(a_trial(random, 1, TrialState.PRUNED, 7)) == 7
    assert epochs_of(a_trial(random, 5, TrialState.PRUNED, 7)) == 7
