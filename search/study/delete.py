"""Deletes a study for good: its trials, its study of replicates, and the artifacts that no other study needs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from search.study.open import SEEDS, revisions, study_names
from search.study.record import SPEC
from search.study.retention import ids_in, needs_of, remove
from storage.artifacts import Artifacts
from storage.optuna_internals import study_id_of
from storage.store import artifacts_of


@dataclass(frozen=True)
class Deletion:
    """What will be deleted, before it is: the studies, the number of their trials, and of those that run now.

    `revisions` are other revisions of the study, which stay.
    """

    studies: tuple[str, ...]
    trials: int
    running: int
    revisions: tuple[str, ...]


def plan_deletion(storage: BaseStorage, study: optuna.Study) -> Deletion:
    """What `delete` would delete."""
    studies = _together(storage, study)
    trials = [trial for one in studies for trial in one.get_trials(deepcopy=False)]
    names = tuple(one.study_name for one in studies)
    others = revisions(storage, study.study_name.partition("@")[0])
    running = sum(trial.state == TrialState.RUNNING for trial in trials)
    return Deletion(names, len(trials), running, tuple(name for name in others if name not in names))


def delete(storage: BaseStorage, study: optuna.Study) -> int:
    """Delete `study` and its replicates; returns how many artifacts were removed.

    Trials also name artifacts that have gone before: these do not count. The records go first: after an interruption
    `lobtuna gc` finds the bytes that nothing names any more.
    Raises `StorageError` where an artifact store cannot be opened; then nothing is deleted.
    """
    holdings: list[tuple[Artifacts, set[str]]] = []
    studies = _together(storage, study)
    for one in studies:
        with contextlib.suppress(KeyError):  # somebody else has just deleted it
            holdings.append((artifacts_of(one), ids_in(one)[0]))
    for one in studies:
        with contextlib.suppress(KeyError):
            storage.delete_study(study_id_of(one))
    with contextlib.suppress(KeyError):  # a worker that did not know it yet may have queued a replicate in a new one
        storage.delete_study(storage.get_study_id_from_name(study.study_name + SEEDS))
    named = needs_of(storage).named
    spare = [(store, artifact_id) for store, held in holdings for artifact_id in sorted(held - named)]
    return sum(remove(store, artifact_id) for store, artifact_id in spare)


def delete_by_id(storage: BaseStorage, study_id: int) -> None:
    """`delete` for the study of this id; a foreign one is deleted alone. Raises `KeyError` for none."""
    study = optuna.load_study(study_name=storage.get_study_name_from_id(study_id), storage=storage)
    if SPEC in study.user_attrs:
        delete(storage, study)
    else:
        storage.delete_study(study_id)


def _together(storage: BaseStorage, study: optuna.Study) -> list[optuna.Study]:
    """The study and its study of replicates, which goes first: it means nothing alone."""
    name = study.study_name + SEEDS
    found = [optuna.load_study(study_name=name, storage=storage)] if name in study_names(storage) else []
    return [*found, study]
