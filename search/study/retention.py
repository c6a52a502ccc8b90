"""Keeps an artifact store small: the best runs' weights stay, others and unreferenced artifacts are removed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import optuna
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.study.open import spec_of
from search.study.record import CHECKPOINT, IMPORTED, SPEC, stored_state_of
from search.study.second_look import KeptState, worth_keeping
from search.studyfile.spec import StudySpec
from storage.artifacts import Artifacts, ArtifactStore, Entry
from storage.artifacts.transfer import PREFIX, owner_of, trial_mark, trial_mark_of
from storage.optuna_internals import storage_of, study_id_of, trial_id_of

YOUNGEST = 3600.0  # seconds; a younger artifact may belong to an upload whose record is not written yet


@dataclass(frozen=True)
class Sweep:
    """What `collect` removed, what it kept, and what it left because it cannot be proved to be this database's."""

    removed: int
    removed_bytes: int
    kept: int
    kept_bytes: int
    foreign: int = 0
    foreign_bytes: int = 0


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


def drop_states(store: ArtifactStore, trials: Sequence[FrozenTrial], spec: StudySpec, newest: int) -> list[int]:
    """After trial `newest` was pruned: remove the states of pruned runs that have lost their room to its own; returns
    their trials' numbers. `collect` removes what else has lost its room since."""
    before = worth_keeping([trial for trial in trials if trial.number != newest], spec)
    lost = (before | {newest}) - worth_keeping(trials, spec)
    states = {t.number: state for t in trials if t.number in lost and (state := KeptState.of(t)) is not None}
    for state in states.values():
        remove(store, state.artifact)
    return sorted(states)


def remove(store: ArtifactStore, artifact_id: str) -> bool:
    """Remove an artifact; False where another worker had removed it already, as far as the store can tell."""
    try:
        store.remove(artifact_id)
    except ArtifactNotFound:
        return False
    return True


def collect(storage: BaseStorage, store: Artifacts, *, age: float = YOUNGEST, dry: bool = False) -> Sweep:
    """Remove from `store` what no study of `storage` needs: checkpoints beyond each study's limit, states of finished
    trials, half-written files, artifacts of deleted studies. Artifacts younger than `age` seconds stay.

    What no trial names yet stays while the trial that its id shows has not ended: an outage may delay the record for
    long, and a clock that was set makes everything look old. An id without a trial has ages alone: such an artifact
    must also be older than every running trial.

    Nothing is removed that is not proved to be this database's: by its name, which holds the database's id, by a trial
    that names it, or by the store, which is a part of the database.
    """
    entries = list(store.entries())  # before the trials: one that has ended since has its record in what is read next
    unnamed_age = age + longest_run(storage)
    needs = needs_of(storage)
    owner = None if store.identify is None else store.identify()
    removed: list[Entry] = []
    kept: list[Entry] = []
    foreign: list[Entry] = []
    for entry in entries:
        named = entry.artifact_id in needs.named
        if entry.artifact_id in needs.needed:
            kept.append(entry)
        elif owner is not None and not named and owner_of(entry.artifact_id) != owner:
            foreign.append(entry)
        elif entry.age < (age if named else unnamed_age) or (not named and needs.awaited(entry.artifact_id)):
            kept.append(entry)
        else:
            removed.append(entry)
            if not dry:
                remove(store, entry.artifact_id)
    counts = [(len(part), sum(entry.size for entry in part)) for part in (removed, kept, foreign)]
    return Sweep(*counts[0], *counts[1], *counts[2])


def longest_run(storage: BaseStorage) -> float:
    """Seconds since the first of all running trials of our studies was begun or resumed; 0 where none is running."""
    running = [
        trial.datetime_start.timestamp()
        for record in storage.get_all_studies()
        if SPEC in record.user_attrs
        for trial in storage.get_all_trials(study_id_of(record), deepcopy=False, states=(TrialState.RUNNING,))
        if trial.datetime_start is not None
    ]
    return max(0.0, datetime.now(UTC).timestamp() - min(running)) if running else 0.0


@dataclass
class Needs:
    """Ids of artifacts that studies name, and of those that they need; the `trial_mark` of each unfinished trial."""

    named: set[str] = field(default_factory=set)
    needed: set[str] = field(default_factory=set)
    unfinished: set[str] = field(default_factory=set)

    def awaited(self, artifact_id: str) -> bool:
        """Whether an unfinished trial may still name this artifact or unfinished file."""
        return trial_mark_of(artifact_id) in self.unfinished


def needs_of(storage: BaseStorage) -> Needs:
    """What the studies of `storage` need. Trials of other programs name no artifact that is stored here."""
    needs = Needs()
    for record in storage.get_all_studies():
        study = optuna.load_study(study_name=record.study_name, storage=storage)
        if SPEC in record.user_attrs:
            trials = study.get_trials(deepcopy=False)  # before what they name: one that ends now is in one of the two
            needs.unfinished |= {trial_mark(trial_id_of(trial)) for trial in trials if not trial.state.is_finished()}
        own, spare = ids_in(study)
        needs.named |= own
        needs.needed |= own - spare  # a revision shares checkpoints with the study it came from
    return needs


def ids_in(study: optuna.Study) -> tuple[set[str], set[str]]:
    """Ids of artifacts that `study` names, and which of them it does not need."""
    trials = study.get_trials(deepcopy=False)
    named = _recorded(storage_of(study).get_study_system_attrs(study_id_of(study)))
    spare: set[str] = set()
    in_use: set[str] = set()
    pruned: dict[str, int] = {}  # trials by the artifacts of their kept states
    for trial in trials:
        named |= _recorded(trial.system_attrs)
        if CHECKPOINT in trial.user_attrs:
            named.add(trial.user_attrs[CHECKPOINT])
        kept = KeptState.of(trial)
        if kept is not None:
            named.add(kept.artifact)
            pruned[kept.artifact] = trial.number
        stored = stored_state_of(trial)
        if stored is not None:
            named.add(stored.artifact)
            if trial.state.is_finished():
                spare.add(stored.artifact)
            else:
                in_use.add(stored.artifact)  # perhaps the state of a pruned run that is taken up again
    if SPEC in study.user_attrs:
        spec = spec_of(study)
        spare |= {trial.user_attrs[CHECKPOINT] for trial in by_value(trials)[spec.checkpoints.keep :]}
        worth = worth_keeping(trials, spec)
        spare |= {artifact for artifact, number in pruned.items() if number not in worth}
    return named, spare - in_use


def _recorded(system_attrs: dict[str, object]) -> set[str]:
    """Ids that Optuna's attributes name."""
    values = [value for key, value in system_attrs.items() if key.startswith(PREFIX)]
    return {json.loads(str(value))["artifact_id"] for value in values}
