"""A small study and trials as workers leave them, made without training."""

from typing import Any

import optuna
from optuna.trial import TrialState

from search.study.open import spec_of
from search.studyfile.space import suggest
from search.studyfile.spec import StudySpec

DOCUMENT: dict[str, Any] = {
    "name": "joint",
    "question": "Which?",
    "parameters": {
        "lr": {"float": [2e-4, 3e-3], "log": True},
        "weight_decay": {"float": [1e-6, 3e-4], "log": True, "or": 0.0},
        "num_layers": {"choices": [1, 2, 3]},
        "epochs": 20,
    },
    "baselines": [
        {"lr": 1e-3, "weight_decay": 0.0, "num_layers": 3},
        {"lr": 5e-4, "weight_decay": 1e-5, "num_layers": 2},
    ],
}


def spec(**changes: Any) -> StudySpec:
    return StudySpec.from_json({**DOCUMENT, **changes})


def with_layers(choices: list[int]) -> dict[str, Any]:
    return {**DOCUMENT["parameters"], "num_layers": {"choices": choices}}


def finish(study: optuna.Study, count: int, fail: bool = False) -> None:
    """Run trials the way a worker leaves them, with made-up scores; every third is pruned."""
    terms = spec_of(study)
    for _ in range(count):
        trial = study.ask()
        config = suggest(terms, trial)
        value = 0.3 - abs(config.lr - 1e-3) * 20
        for name, attr in {
            "configuration": config.active(), "key": config.key(), "seed": terms.trial_seed(trial.number),
            "select_t0": value + 0.1, "select_t1": value - 0.1, "select_mean": value, "epochs": 2, "seconds": 3.0,
            "device": "cpu", "checkpoint": f"artifact-{trial.number}",
        }.items():  # fmt: skip
            trial.set_user_attr(name, attr)
        study._storage.set_trial_system_attr(trial._trial_id, f"artifacts:artifact-{trial.number}", "{}")
        trial.report(value - 0.01, 0)
        trial.report(value, 1)
        if fail:
            study.tell(trial, state=TrialState.FAIL)
        elif trial.number % 3 == 2:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)
