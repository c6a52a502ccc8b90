"""Halving judges at 1, 4, 16 epochs, compares like schedules early, and makes dear epochs earn their price."""

from __future__ import annotations

import optuna

from search.study.halving import HalvingPruner, relative_price
from search.study.pruners import build_pruner
from search.study.record import DIVERGED
from search.study.writers import write_failure
from search.studyfile.spec import StudySpec

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
