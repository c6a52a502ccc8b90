"""Revises a study. Optuna cannot change the choices of a study, so a revision is a new one that imports what fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from lobmodels.config import RunConfig
from lobmodels.errors import ConfigError
from lobmodels.plugins.source import Source
from search.errors import SearchError, SpaceError, StudyExistsError
from search.study.create import (
    CHANGEABLE,
    bind_data,
    create_in,
    differences,
    enqueue_baselines,
    refuse_orphans,
    require_same_plugins,
)
from search.study.open import SEEDS, existing_storage, load_study, revisions, spec_of
from search.study.record import (
    CONFIGURATION,
    CONTINUES,
    FINGERPRINT,
    IMPORTED,
    KEPT_STATE,
    PARENT,
    PLUGINS,
    QUESTION,
    REPEATS,
    REVISION_OF,
    SPEC,
)
from search.study.replication import find_replicates, open_replicates
from search.studyfile.space import suggest, to_params
from search.studyfile.spec import StudySpec
from storage.optuna_internals import study_id_of
from storage.store import ARTIFACTS, store_of
from storage.url import redact_url

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

OF_ITS_STUDY = (KEPT_STATE, CONTINUES, REPEATS)  # not copied: they name trials and states of the other study
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)  # also runs that diverged: the sampler learns from them


@dataclass
class Revision:
    """What `revise` did. `changes` is empty where the study already has the file's definition."""

    study: optuna.Study
    previous: str
    changes: dict[str, tuple[Any, Any]]
    imported: int = 0
    offered: int = 0  # finished trials of the previous revision
    replicates: int = 0  # imported with the trials they repeat
    reasons: Counter[str] = field(default_factory=Counter)  # why trials were not imported, and how many

    @property
    def in_place(self) -> bool:
        """Whether the study itself was changed, or nothing at all."""
        return self.study.study_name == self.previous


def revise(
    spec: StudySpec, url: str, data_fingerprint: str | None = None, *, plugins: Sequence[Source] = ()
) -> Revision:
    """Change the newest revision of the study `spec.name` to `spec`.

    Budget, retention and retries change in place. Anything else opens `NAME@N` and imports the finished trials whose
    configuration lies in the new space, with their scores, histories and checkpoints. May be repeated after a crash.
    Raises `StudyNotFoundError`, or `SearchError` where the trials could not be compared.
    """
    storage = existing_storage(url, spec.name)
    latest = load_study(storage, _newest(storage, spec.name), redact_url(url))
    document = latest.user_attrs[SPEC]
    bind_data(latest, data_fingerprint)
    given = [source.to_json() for source in plugins]
    require_same_plugins(latest, given)
    changes = differences(spec_of(latest), spec)
    if {name.partition(".")[0] for name in changes} <= set(CHANGEABLE):
        return _change_terms(storage, latest, document, spec, changes)
    _require_comparable(latest, changes)
    number = int(latest.study_name.partition("@")[2] or 1) + 1
    renamed = spec.model_copy(update={"name": f"{spec.name}@{number}"})
    attributes: dict[str, Any] = {REVISION_OF: latest.study_name}
    if given:
        attributes[PLUGINS] = given
    attributes |= {name: latest.user_attrs[name] for name in (ARTIFACTS, PLUGINS) if name in latest.user_attrs}
    refuse_orphans(storage, renamed.name)  # here already: below, an error of this kind is somebody else's revision
    try:
        study = create_in(storage, renamed, latest.user_attrs.get(FINGERPRINT), attributes=attributes, baselines=False)
    except StudyExistsError:  # there was none a moment ago
        raise _changed_meanwhile(spec) from None
    return _finish(study, latest, renamed, changes)


def import_trials(source: optuna.Study, target: optuna.Study, spec: StudySpec) -> tuple[int, Counter[str]]:
    """Copy the finished trials of `source` that lie in the space of `spec` and are not in `target` yet.

    Returns how many `target` has now, and why the others were not copied.
    """
    present = {trial.user_attrs.get(IMPORTED) for trial in target.get_trials(deepcopy=False)}
    reasons: Counter[str] = Counter()
    imported = 0
    for trial in source.get_trials(deepcopy=False, states=FINISHED):
        if CONFIGURATION not in trial.user_attrs:  # it failed before it began
            continue
        origin = f"{source.study_name}#{trial.number}"
        if origin not in present:
            try:
                target.add_trial(adapt(trial, spec, {IMPORTED: origin}))
            except (SpaceError, ConfigError) as error:
                reasons[str(error).partition(": ")[2]] += 1
                continue
        imported += 1
    return imported, reasons


def import_replicates(source: optuna.Study, target: optuna.Study) -> int:
    """Copy the complete replicates of trials that `target` has imported; returns how many it has now."""
    old = find_replicates(source)
    finished = [] if old is None else old.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    numbers = {trial.user_attrs.get(IMPORTED): trial.number for trial in target.get_trials(deepcopy=False)}
    parents = {trial.number: numbers.get(f"{source.study_name}#{trial.user_attrs[PARENT]}") for trial in finished}
    fitting = [trial for trial in finished if parents[trial.number] is not None]
    if not fitting:
        return 0
    new = open_replicates(target)
    spec = spec_of(new)
    present = {trial.user_attrs.get(IMPORTED) for trial in new.get_trials(deepcopy=False)}
    for trial in fitting:
        origin = f"{source.study_name}{SEEDS}#{trial.number}"
        if origin not in present:
            new.add_trial(adapt(trial, spec, {IMPORTED: origin, PARENT: parents[trial.number]}))
    return len(fitting)


def adapt(trial: FrozenTrial, spec: StudySpec, attributes: Mapping[str, Any]) -> FrozenTrial:
    """A finished trial as one of `spec`'s study. Raises `SpaceError` where it does not lie in the space."""
    fixed = FixedTrial(to_params(spec, RunConfig.parse(trial.user_attrs[CONFIGURATION])))
    suggest(spec, fixed)
    copy = create_trial(
        state=trial.state,
        value=trial.value,
        params=fixed.params,
        distributions=fixed.distributions,
        user_attrs={name: v for name, v in trial.user_attrs.items() if name not in OF_ITS_STUDY} | dict(attributes),
        system_attrs={k: v for k, v in trial.system_attrs.items() if k.startswith("artifacts:")},
        intermediate_values=trial.intermediate_values,
    )
    copy.datetime_start, copy.datetime_complete = trial.datetime_start, trial.datetime_complete
    return copy


def _newest(storage: BaseStorage, name: str) -> str:
    """The newest revision of the study `name` that has a definition: one without is just being made, or was cut short
    and is made again."""
    defined = {record.study_name for record in storage.get_all_studies() if SPEC in record.user_attrs}
    return next((found for found in reversed(revisions(storage, name)) if found in defined), name)


def _changed_meanwhile(spec: StudySpec) -> StudyExistsError:
    return StudyExistsError(
        f"somebody else has just revised study {spec.name!r}, otherwise than the file does: give the same command "
        "again, and the file is compared with what they made"
    )


def _change_terms(
    storage: BaseStorage,
    study: optuna.Study,
    document: dict[str, Any],
    spec: StudySpec,
    changes: dict[str, tuple[Any, Any]],
) -> Revision:
    """Change the study's definition in place, as long as it is still the `document` that it was compared with."""
    named = spec.model_copy(update={"name": study.study_name})
    new = {SPEC: named.to_json(), QUESTION: spec.question}
    if changes and not store_of(study).fleet.redefine(study_id_of(study), SPEC, document, new):
        raise _changed_meanwhile(spec)
    previous = study.user_attrs.get(REVISION_OF)
    if previous and not changes:  # an import may have been interrupted: finish it
        return _finish(study, load_study(storage, previous), named, changes)
    return Revision(study, study.study_name, changes)


def _finish(
    study: optuna.Study, previous: optuna.Study, spec: StudySpec, changes: dict[str, tuple[Any, Any]]
) -> Revision:
    imported, reasons = import_trials(previous, study, spec)
    replicates = import_replicates(previous, study)
    enqueue_baselines(study, spec)
    offered = imported + reasons.total()
    return Revision(study, previous.study_name, changes, imported, offered, replicates, reasons)


def _require_comparable(study: optuna.Study, changes: dict[str, tuple[Any, Any]]) -> None:
    """Refuse a change of the selection sequences: old and new scores could not be compared."""
    for name in [name for name in changes if name.startswith("validation.")]:
        old, new = ("not given" if value is None else value for value in changes[name])
        raise SearchError(
            f"{name} of study {study.study_name!r} is {old}, the file says {new}: scores on "
            "different selection sequences cannot be compared; keep it, or give the study file another name"
        )
