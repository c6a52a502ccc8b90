"""A sampler repeats itself, and every name of the study file has one."""

import math
from collections.abc import Callable
from typing import get_args

import optuna
import pytest
from optuna.trial import TrialState

from search.errors import SearchError
from search.study.record import DIVERGED
from search.study.samplers import SAMPLERS, Stream, build_sampler, sampler_note
from search.study.writers import write_failure
from search.studyfile.space import suggest
from search.studyfile.spec import StudySpec
from search.studyfile.terms import SamplerSpec

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


CHOICES = get_args(SamplerSpec.model_fields["name"].annotation)


def test_the_study_file_and_the_registry_name_the_same_samplers() -> None:
    """A sampler that one of them lacks fails here, not in a worker."""
    assert set(CHOICES) == set(SAMPLERS)


def test_an_unknown_sampler_is_refused() -> None:
    """A study of a newer lobtuna is not searched with another sampler than it names."""
    stored = spec().model_copy(update={"sampler": SamplerSpec.model_construct(name="cmaes", startup_trials=4)})
    with pytest.raises(SearchError, match="'cmaes' is not known to this lobtuna: known are tpe, random, gp"):
        build_sampler(stored)


@pytest.mark.parametrize(("name", "count"), [(name, {"tpe": 24, "random": 12}.get(name, 8)) for name in CHOICES])
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


def test_tpe_learns_what_every_trial_has_together() -> None:
    """Not each group of a conditional space for itself: the parameters that no condition excludes are one space."""
    terms = spec(sampler={"name": "tpe", "startup_trials": 4})
    study = optuna.create_study(sampler=build_sampler(terms), direction="maximize")
    for _ in range(12):
        trial = study.ask()
        study.tell(trial, suggest(terms, trial).lr)
    asked = study.ask()
    together = study.sampler.infer_relative_search_space(study, study.get_trials()[asked.number])
    assert {"lr", "loss", "hidden_size"} <= set(together) and not {"huber_delta", "pearson_alpha"} & set(together)


def test_trial_streams_differ() -> None:
    """Neighbouring trials and neighbouring studies do not share random numbers."""
    streams = {Stream(seed, number).seed for seed in range(50) for number in range(50)}
    assert len(streams) == 2500


def cliff_falls(told: Callable[[optuna.Study, optuna.Trial], None], seed: int) -> int:
    """Trials of 75 that go over a cliff at lr = 3e-3; the best lr is a third of that."""
    terms = spec(sampler={"name": "tpe"}, seed=seed)
    study = optuna.create_study(sampler=build_sampler(terms), direction="maximize")
    falls = 0
    for _ in range(75):
        trial = study.ask()
        lr = trial.suggest_float("lr", 1e-4, 3e-2, log=True)
        if lr > 3e-3:
            falls += 1
            told(study, trial)
        else:
            study.tell(trial, 0.3 - 0.05 * math.log10(lr / 1e-3) ** 2)
    return falls


def test_a_sampler_learns_from_runs_that_diverged() -> None:
    """Only failed, 65 of 75 runs diverge; told as pruned at the worst score, about 10 do."""

    def forgotten(study: optuna.Study, trial: optuna.Trial) -> None:
        study.tell(trial, state=TrialState.FAIL)

    def taught(study: optuna.Study, trial: optuna.Trial) -> None:
        batch = write_failure(DIVERGED, "diverged", 0)
        assert batch.state == TrialState.PRUNED
        for step, value in batch.intermediate.items():
            trial.report(value, step)
        study.tell(trial, state=batch.state)

    counts = {rule.__name__: sum(cliff_falls(rule, seed) for seed in range(2)) for rule in (forgotten, taught)}
    assert counts["taught"] < 0.25 * counts["forgotten"], counts


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_the_first_draws_try_both_ways_of_a_choice(name: str) -> None:
    """Two learning rates as choices: of the first ten trials four at least have each, whatever the seed."""
    document = {"name": "s", "parameters": {"lr": {"choices": [1e-3, 1e-2]}}, "sampler": {"name": name}}
    terms = StudySpec.from_json(document)
    for seed in range(10):
        study = optuna.create_study(sampler=build_sampler(terms, seed), direction="maximize")
        drawn = [suggest(terms, study.ask()).lr for _ in range(10)]
        assert 4 <= drawn.count(1e-3) <= 6


def test_gp_says_what_it_does_not_learn() -> None:
    """Conditional parameters and ranges with a value of their own, by name; tpe has nothing to say."""
    note = sampler_note(spec(sampler={"name": "gp"}))
    assert note is not None and "learns 3 of 6 parameters" in note
    assert "at random: weight_decay, huber_delta, pearson_alpha; `tpe` learns all" in note
    assert sampler_note(spec()) is None
