"""Keeps an artifact store small: the best runs' weights stay, others and unreferenced artifacts are removed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import optuna
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.study.open import spec_of
from search.study.record import CHECKPOINT, IMPORTED, SPEC, stored_state_of
from storage.artifacts import Artifacts, ArtifactStore, Entry
from storage.artifacts.transfer import PREFIX

YOUNGEST = 3600.0  # seconds; a younger artifact may belong to an upload whose record is not written yet


@dataclass(frozen=True)
class Sweep:
    """What `collect` removed, and what it left."""

    removed: int
    removed_bytes: int
    kept: int
    kept_bytes: int


def by_value(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Complete trials with a checkpoint, best first; the earlier of equals first."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE and CHECKPOINT in t.user_attrs]
    return sorted(complete, key=lambda t: (-float(t.value or 0.0), t.number))


def make_room(store: ArtifactStore, trials: Iterable[FrozenTrial], keep: int, newest: int) -> int | None:
    """After trial `newest` has ended: remove the one checkpoint that is no longer among the best `keep`; returns its
    trial's number, or None where there is room."""
    past = [trial for trial in by_value(trials)[keep:] if IMPORTED not in trial.user_attrs]
    if not past:
        return None
    dropped = next((trial for trial in past if trial.number == newest), past[0])
    remove(store, dropped.user_attrs[CHECKPOINT])
    return dropped.number


def remove(store: ArtifactStore, artifact_id: str) -> None:
    """Remove an artifact, which another worker may have removed already."""
    try:
        store.remove(artifact_id)
    except ArtifactNotFound:
        return


def collect(storage: BaseStorage, store: Artifacts, *, age: float = YOUNGEST, dry: bool = False) -> Sweep:
    """Remove from `store` what no study of `storage` needs: checkpoints beyond each study's limit, states of finished
    trials, half-written files, artifacts of deleted studies. Artifacts younger than `age` seconds stay."""
    needed = _needed(storage)
    removed: list[Entry] = []
    kept: list[Entry] = []
    for entry in list(store.entries()):
        if entry.artifact_id in needed or entry.age < age:
            kept.append(entry)
            continue
        if not dry:
            remove(store, entry.artifact_id)
        removed.append(entry)
    return Sweep(len(removed), sum(e.size for e in removed), len(kept), sum(e.size for e in kept))


def _needed(storage: BaseStorage) -> set[str]:
    needed: set[str] = set()
    for record in storage.get_all_studies():
        study = optuna.load_study(study_name=record.study_name, storage=storage)
        trials = study.get_trials(deepcopy=False)
        needed |= _recorded(record.system_attrs)
        own: set[str] = set()
        for trial in trials:
            own |= _recorded(trial.system_attrs)
            if CHECKPOINT in trial.user_attrs:
                own.add(trial.user_attrs[CHECKPOINT])
            stored = stored_state_of(trial)
            if stored is not None and not trial.state.is_finished():
                own.add(stored.artifact)
        if SPEC in record.user_attrs:
            keep = spec_of(study).checkpoints.keep
            own -= {trial.user_attrs[CHECKPOINT] for trial in by_value(trials)[keep:]}
        needed |= own  # a revision shares checkpoints with the study it came from
    return needed


def _recorded(system_attrs: dict[str, object]) -> set[str]:
    """Ids that Optuna's attributes name."""
    values = [value for key, value in system_attrs.items() if key.startswith(PREFIX)]
    return {json.loads(str(value))["artifact_id"] for value in values}
