"""A pruner waits for the warm-up and for improving runs, and every name of the study file has one."""

from typing import Any, get_args

import optuna
import pytest

from search.errors import SearchError
from search.study.pruners import PRUNERS, build_pruner, needs_news, wanted_reports
from search.studyfile.spec import StudySpec
from search.studyfile.terms import PrunerSpec
from storage.wanted import ENDED_ALONE, EVERY_STEP, WantedReports

optuna.logging.set_verbosity(optuna.logging.WARNING)

CHOICES = get_args(PrunerSpec.model_fields["name"].annotation)
NEEDED: dict[str, dict[str, Any]] = {"percentile": {"percentile": 25.0}}  # what a choice cannot be without


def spec(**changes: object) -> StudySpec:
    document = {"name": "s", "parameters": {"lr": {"float": [2e-4, 3e-3], "log": True}, "epochs": 40}}
    return StudySpec.from_json({**document, **changes})


def test_the_study_file_and_the_registry_name_the_same_pruners() -> None:
    """A pruner that one of them lacks fails here, not in a worker."""
    assert set(CHOICES) == set(PRUNERS)


def test_an_unknown_pruner_is_refused() -> None:
    """A study of a newer lobtuna is not pruned by another rule than it names."""
    stored = spec().model_copy(update={"pruner": PrunerSpec.model_construct(name="hyperband")})
    with pytest.raises(SearchError, match="'hyperband' is not known to this lobtuna: known are halving, curve, median"):
        build_pruner(stored)


@pytest.mark.parametrize("name", CHOICES)
def test_every_pruner_spares_the_warm_up_and_the_best_run(name: str) -> None:
    """No choice prunes within the warm-up, and none prunes a run that is better than all finished ones."""
    terms = {"name": name, "warmup_epochs": 5, "startup_trials": 4, **NEEDED.get(name, {})}
    pruned = prunes(terms, [0.2 - 0.01 * epoch for epoch in range(20)])
    assert (pruned is None) if name == "none" else (pruned is not None and pruned >= 5)
    assert prunes(terms, [0.4] * 20) is None


def prunes(pruner: dict, curve: list[float], finished: int = 8) -> int | None:
    """The epoch at which a run with this curve is pruned, against finished runs of a steady .3."""
    study = optuna.create_study(direction="maximize", pruner=build_pruner(spec(pruner=pruner)))
    for _ in range(finished):
        trial = study.ask()
        for epoch in range(20):
            trial.report(0.3, epoch)
        study.tell(trial, 0.3)
    trial = study.ask()
    for epoch, value in enumerate(curve):
        trial.report(value, epoch)
        if trial.should_prune():
            return epoch
    return None


def test_no_run_is_pruned_within_its_warm_up() -> None:
    """A run is given all its warm-up epochs, and finished runs are needed to judge it by."""
    plain = {"name": "median", "warmup_epochs": 5, "startup_trials": 4, "patience": 0}
    assert prunes(plain, [0.1] * 20) == 5
    assert prunes(plain, [0.1] * 20, finished=3) is None
    assert prunes({**plain, "name": "none"}, [0.1] * 20) is None


def test_a_run_that_still_improves_is_not_pruned() -> None:
    """With patience the late-peaking recipe is left alone; a run that has stopped improving is not."""
    patient = {"name": "median", "warmup_epochs": 5, "startup_trials": 4, "patience": 2}
    assert prunes(patient, [0.01 * epoch for epoch in range(20)]) is None
    assert prunes(patient, [0.2 - 0.01 * epoch for epoch in range(20)]) == 5
    assert prunes(patient, [0.1, 0.15, 0.2, 0.21, 0.22, 0.23, 0.22, 0.22, 0.22, 0.22]) == 8


def test_the_percentile_pruner_is_stricter() -> None:
    """The better quarter goes on, the third quarter does not."""
    terms = {"name": "percentile", "percentile": 25.0, "warmup_epochs": 0, "startup_trials": 4, "patience": 0}
    study = optuna.create_study(direction="maximize", pruner=build_pruner(spec(pruner=terms)))
    for value in (0.1, 0.2, 0.3, 0.4, 0.5):
        trial = study.ask()
        trial.report(value, 0)
        study.tell(trial, value)
    trial = study.ask()
    trial.report(0.35, 0)
    assert trial.should_prune()


def test_pruners_that_judge_rarely_see_the_latest() -> None:
    """Halving looks at running trials at its rungs, and at no score behind the last, whatever the budget counts; a
    second look needs whole curves. The others read finished trials whenever they look."""
    halving = StudySpec.from_json({**DOCUMENT_OF_LOOKS, "pruner": {"name": "halving", "warmup_epochs": 0}})
    assert wanted_reports(halving) == WantedReports(running=16, ended=16)
    by_hours = StudySpec.from_json({**halving.to_json(), "budget": {"hours": 9}})
    assert wanted_reports(by_hours) == WantedReports(running=16, ended=16)
    twice = StudySpec.from_json({**halving.to_json(), "second_look": {"share": 0.2}})
    assert wanted_reports(twice) == WantedReports(running=16, ended=EVERY_STEP)
    assert [n for n in range(1, 30) if needs_news(build_pruner(halving), n, due=True)] == [1, 4, 16]
    median = StudySpec.from_json({**DOCUMENT_OF_LOOKS, "pruner": {"name": "median"}})
    assert wanted_reports(median) == ENDED_ALONE
    assert all(needs_news(build_pruner(median), n, due) is due for n in (1, 4) for due in (True, False))


DOCUMENT_OF_LOOKS = {"name": "looks", "parameters": {"epochs": 30, "lr": {"float": [1e-4, 1e-2], "log": True}}}
