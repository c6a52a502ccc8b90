"""Samplers that repeat themselves and pruners that wait."""

import optuna
import pytest

from search.study.samplers import build_pruner, build_sampler, trial_stream
from search.studyfile.space import suggest
from search.studyfile.spec import StudySpec

optuna.logging.set_verbosity(optuna.logging.WARNING)

DOCUMENT = {
    "name": "s",
    "parameters": {
        "lr": {"float": [2e-4, 3e-3], "log": True},
        "weight_decay": {"float": [1e-6, 3e-4], "log": True, "or": 0.0},
        "loss": {"choices": ["mse", "huber", "pearson_combined"]},
        "huber_delta": {"float": [0.1, 2.0]},
        "pearson_alpha": {"float": [0.4, 0.95]},
        "hidden_size": {"int": [32, 160], "step": 16},
    },
}


def spec(**changes: object) -> StudySpec:
    return StudySpec.from_json({**DOCUMENT, **changes})


def trials(name: str, storage: optuna.storages.BaseStorage, count: int, seed: int = 0) -> list[dict]:
    """Run `count` more trials of a made-up objective on a study object of one's own."""
    terms = spec(sampler={"name": name, "startup_trials": 4}, seed=seed)
    study = optuna.create_study(
        study_name="s", storage=storage, sampler=build_sampler(terms), direction="maximize", load_if_exists=True
    )
    for _ in range(count):
        trial = study.ask()
        config = suggest(terms, trial)
        study.tell(trial, -abs(config.lr - 1e-3) * 1e3 - (config.loss != "huber") - config.weight_decay * 1e3)
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize(("name", "count"), [("tpe", 24), ("random", 12), ("gp", 8)])
def test_a_stopped_study_goes_on_as_if_it_had_not_stopped(name: str, count: int) -> None:
    """Two workers one after the other ask the same trials as one worker that never stopped."""
    whole = trials(name, optuna.storages.InMemoryStorage(), count)
    storage = optuna.storages.InMemoryStorage()
    trials(name, storage, count // 2)
    assert trials(name, storage, count - count // 2) == whole
    assert trials(name, optuna.storages.InMemoryStorage(), count, seed=1) != whole


def test_tpe_learns_in_a_conditional_space() -> None:
    """After the random start most trials go where the made-up objective is best."""
    found = trials("tpe", optuna.storages.InMemoryStorage(), 60)
    late = found[30:]
    assert sum(params["loss"] == "huber" for params in late) > len(late) * 0.6


def test_trial_streams_differ() -> None:
    """Neighbouring trials and neighbouring studies do not share random numbers."""
    streams = {trial_stream(seed, number) for seed in range(50) for number in range(50)}
    assert len(streams) == 2500


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
