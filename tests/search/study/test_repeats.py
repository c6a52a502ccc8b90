"""A configuration that was run before becomes a replicate, and the search draws another."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.trial import TrialState

from search.study.create import create_study
from search.study.record import is_duplicate
from search.study.repeats import DRAWS, ask_unrepeated
from search.study.replication import find_replicates
from search.studyfile.space import suggest
from search.studyfile.spec import StudySpec


def spec(choices: list[int], **changes: object) -> StudySpec:
    parameters = {"hidden_size": {"choices": choices}, "lr": 1e-3}
    document = {"name": "s", "parameters": parameters, "sampler": {"name": "random"}, "pruner": {"name": "none"}}
    return StudySpec.from_json({**document, **changes})


def run(study: optuna.Study, terms: StudySpec, trial: optuna.Trial, state: TrialState = TrialState.COMPLETE) -> int:
    """Finish a trial as a worker would; returns its hidden size."""
    config = suggest(terms, trial)
    for key, value in {"configuration": config.active(), "key": config.key(), "seed": trial.number}.items():
        trial.set_user_attr(key, value)
    study.tell(trial, 0.3 if state == TrialState.COMPLETE else None, state=state)
    return config.hidden_size


def test_a_small_space_is_searched_without_repeats(tmp_path: Path) -> None:
    """Six choices: six trials have six configurations; what was drawn twice is queued under another seed."""
    terms = spec([16, 32, 48, 64, 80, 96])
    study = create_study(terms, f"sqlite:///{tmp_path / 's.db'}")
    sizes = [run(study, terms, ask_unrepeated(study, terms)) for _ in range(6)]
    assert len(set(sizes)) == 6
    withdrawn = [trial for trial in study.trials if is_duplicate(trial)]
    seeds = find_replicates(study)
    assert withdrawn and seeds is not None
    waiting = [trial for trial in seeds.trials if trial.state == TrialState.WAITING]
    pairs = {(trial.user_attrs["key"], trial.user_attrs["seed"]) for trial in waiting}
    assert 0 < len(waiting) == len(pairs) <= len(withdrawn)


def test_a_pruned_configuration_is_not_replicated(tmp_path: Path) -> None:
    """It is only drawn anew: a replicate belongs to a complete run."""
    terms = spec([16, 32, 48, 64])
    study = create_study(terms, f"sqlite:///{tmp_path / 's.db'}")
    sizes = [run(study, terms, ask_unrepeated(study, terms), TrialState.PRUNED) for _ in range(3)]
    assert len(set(sizes)) == 3
    assert find_replicates(study) is None


def test_a_space_of_one_configuration_does_not_hang(tmp_path: Path) -> None:
    """After a few draws the configuration is run again, with a seed of its own; one replicate a question at most."""
    terms = spec([16])
    study = create_study(terms, f"sqlite:///{tmp_path / 's.db'}")
    for _ in range(3):
        run(study, terms, ask_unrepeated(study, terms))
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    assert len(complete) == 3 and len({trial.user_attrs["seed"] for trial in complete}) == 3
    assert len(study.trials) == 3 + 2 * DRAWS
    seeds = find_replicates(study)
    assert seeds is not None and len(seeds.trials) == 2


def test_a_baseline_that_was_queued_is_run(tmp_path: Path) -> None:
    """What somebody queued is not judged by what was run."""
    terms = spec([16, 32], baselines=[{"hidden_size": 32}])
    study = create_study(terms, f"sqlite:///{tmp_path / 's.db'}")
    assert run(study, terms, ask_unrepeated(study, terms)) == 32
