"""A study whose runs have weights, made without training: what tests of export and analysis start from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import optuna

from lobmodels.data import Sequences
from search.study.create import create_study
from search.study.open import open_study, spec_of
from search.study.replication import open_replicates
from search.studyfile.space import suggest
from search.studyfile.spec import StudySpec
from storage.artifacts import upload_bytes
from storage.store import artifacts_of
from tests.lobmodels.ensemble.made_runs import run

DOCUMENT: dict[str, Any] = {
    "name": "joint",
    "parameters": {
        "architecture": {"choices": ["gru", "gru_attention"]},
        "hidden_size": {"choices": [4, 8]},
        "attention_window": {"choices": [5], "when": {"architecture": "gru_attention"}},
        "num_layers": 1,
        "derived": {"choices": [False, True]},
        "normalizer": "zscore",
    },
    "checkpoints": {"keep": 6},
    "pruner": {"name": "none"},
}
SCORES = (0.20, 0.26, 0.24, 0.25, 0.22)  # of five runs
POINTS = (
    {"architecture": "gru", "hidden_size": 8, "derived": True},
    {"architecture": "gru_attention", "hidden_size": 4, "derived": False, "attention_window": 5},
    {"architecture": "gru", "hidden_size": 4, "derived": False},
)


def make_study(url: str, valid: Sequences, **changes: Any) -> optuna.Study:
    """An empty study of the space above."""
    spec = StudySpec.from_json({**DOCUMENT, **changes})
    create_study(spec, url, "data")
    return open_study(url, spec.name)


def add_runs(study: optuna.Study, valid: Sequences, values: Iterable[float], seed: int = 0, **known: Any) -> None:
    """Complete runs with the given selection scores, one configuration after the other; `known` changes their
    checkpoints."""
    for i, value in enumerate(values):
        study.enqueue_trial(dict(POINTS[i % len(POINTS)]))
        _finish(study, study.ask(), valid, value, seed + i, **known)


def add_replicate(study: optuna.Study, valid: Sequences, value: float, seed: int, **known: Any) -> None:
    """A further run of the first configuration, in the study of replicates."""
    target = open_replicates(study)
    target.enqueue_trial(dict(POINTS[0]), user_attrs={"parent": 0, "seed": seed})
    _finish(target, target.ask(), valid, value, seed, **known)


def _finish(study: optuna.Study, trial: optuna.Trial, valid: Sequences, value: float, seed: int, **known: Any) -> None:
    config = suggest(spec_of(study), trial)
    checkpoint = dataclasses.replace(
        run(f"{study.study_name}#{trial.number}", seed, 1.0, **config.active()),
        valid_fingerprint=valid.fingerprint,
        scores={"select": {"t0": value, "t1": value, "mean": value}, "report": None},
        **known,
    )
    attributes = {
        "configuration": config.active(),
        "key": config.key(),
        "seed": seed,
        **{f"select_{part}": value for part in ("t0", "t1", "mean")},
        "checkpoint": upload_bytes(artifacts_of(study), checkpoint.to_bytes()),
    }
    for name, attribute in attributes.items():
        trial.set_user_attr(name, attribute)
    study.tell(trial, value)
