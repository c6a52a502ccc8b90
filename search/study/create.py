"""Creates a study with its whole definition in the database, so that a worker needs only a URL and a name."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lobmodels.config import RunConfig
from lobmodels.plugins.source import Source
from lobmodels.schema import LOB, Schema
from search.errors import SearchError, StudyExistsError
from search.study.open import SEEDS, load_study, revisions, spec_of, study_names
from search.study.record import (
    BASELINE,
    DUPLICATE,
    FINGERPRINT,
    KEY,
    PLUGINS,
    QUESTION,
    SCHEMA,
    SPEC,
    VERSION,
    state_of,
)
from search.study.warm_start import queue_from
from search.study.writers import queued_baseline
from search.studyfile.space import to_params
from search.studyfile.spec import StudySpec
from storage.backends.plain_fleet import PlainFleet
from storage.backends.registry import open_storage
from storage.claims import REASON, Batch, Claim
from storage.fleet import Fleet
from storage.optuna_internals import storage_of, study_id_of, trial_id_of
from storage.store import ARTIFACTS, StoreStorage, open_artifacts, store_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

# What may change in a study that has begun: it changes neither its trials nor what they are compared with.
CHANGEABLE = ("question", "budget", "max_retries", "second_look", "checkpoints")


def create_study(
    spec: StudySpec,
    url: str,
    data_fingerprint: str | None = None,
    *,
    artifacts: str | None = None,
    plugins: Sequence[Source] = (),
) -> optuna.Study:
    """Create the study of `spec` and queue its baselines; an existing study with the same definition is opened.

    `data_fingerprint` binds the study to its data; without it, the first worker does. `artifacts` is the URL of a store
    for checkpoints other than the database, `plugins` are stored with the study. Raises `StudyExistsError` where the
    study has another definition, `SearchError` where it belongs to other data.
    """
    attributes = {PLUGINS: [source.to_json() for source in plugins]} if plugins else None
    study = create_in(open_storage(url), spec, data_fingerprint, artifacts=artifacts, attributes=attributes)
    queue_from(study, spec)
    return study


def create_in(
    storage: BaseStorage,
    spec: StudySpec,
    data_fingerprint: str | None = None,
    *,
    artifacts: str | None = None,
    attributes: dict[str, Any] | None = None,
    baselines: bool = True,
) -> optuna.Study:
    """`create_study` on an open storage, with further study user attributes.

    May be repeated after a crash: it adds what is missing, and nothing twice.
    """
    refuse_orphans(storage, spec.name)
    try:
        study = optuna.create_study(study_name=spec.name, storage=storage, direction="maximize")
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(study_name=spec.name, storage=storage)
    if SPEC not in study.user_attrs:
        _define(study, spec, artifacts, attributes or {})
    require_same_plugins(study, (attributes or {}).get(PLUGINS, ()))
    _require_same(study, spec, artifacts)
    bind_data(study, data_fingerprint)
    if baselines:
        enqueue_baselines(study, spec)
    return load_study(storage, spec.name)


def refuse_orphans(storage: BaseStorage, name: str) -> None:
    """Raise `StudyExistsError` where replicates are there of a study `name` that is gone: they would become the new
    study's. `lobtuna delete` deletes both, plain Optuna and its dashboard the study alone."""
    names = set(study_names(storage))
    if name not in names and name + SEEDS in names:
        raise StudyExistsError(
            f"study {name + SEEDS!r} has the replicates of an earlier study {name!r}, which was deleted or renamed "
            f"without them: delete them with `lobtuna delete {name + SEEDS}`, or give the new study another name"
        )


def enqueue_baselines(study: optuna.Study, spec: StudySpec) -> int:
    """Queue the baselines that are not among the study's trials yet; returns how many."""
    present = {trial.user_attrs.get(KEY) for trial in study.get_trials(deepcopy=False)}
    configs = [RunConfig.parse(baseline) for baseline in spec.baselines]
    missing = [(i, config) for i, config in enumerate(configs, 1) if config.key() not in present]
    for i, config in missing:
        study.enqueue_trial(to_params(spec, config), user_attrs=queued_baseline(config, i))
    withdraw_duplicates(study, lambda trial: trial.user_attrs.get(BASELINE))
    return len(missing)


def _duplicates(trials: Iterable[FrozenTrial], identity: Callable[[FrozenTrial], Hashable | None]) -> list[FrozenTrial]:
    """The queued trials whose `identity` an earlier trial has as well (None: unique)."""
    seen: set[Hashable] = set()
    found = []
    for trial in trials:
        name = identity(trial)
        if name is None or state_of(trial) in ("failed", "withdrawn"):  # a failed trial may be queued again
            continue
        if name not in seen:
            seen.add(name)
        elif trial.state == TrialState.WAITING:
            found.append(trial)
    return found


def withdraw_duplicates(study: optuna.Study, identity: Callable[[FrozenTrial], Hashable | None]) -> int:
    """Fail each queued trial of a study whose `identity` an earlier one has as well; returns how many.

    Two processes that queue the same trials at the same moment do not see each other's; called after queueing, this
    sees both.
    """
    found = _duplicates(study.get_trials(deepcopy=False), identity)
    return sum(_withdraw(store_of(study).fleet, trial_id_of(trial)) for trial in found)


def is_duplicate_of_earlier(study: optuna.Study, number: int, identity: Callable[[FrozenTrial], Hashable]) -> bool:
    """Whether an earlier trial, neither failed nor withdrawn, has the `identity` of trial `number`.

    Asked by a worker that has taken the trial: it may be one that its finder had no time to withdraw. An earlier
    number was committed earlier, so that of two workers one always sees the other's.
    """
    earlier = [trial for trial in study.get_trials(deepcopy=False) if trial.number <= number]
    (own,) = [trial for trial in earlier if trial.number == number]
    valid = [trial for trial in earlier if state_of(trial) not in ("failed", "withdrawn")]
    return any(identity(trial) == identity(own) for trial in valid if trial.number < number)


def _withdraw(fleet: Fleet, trial_id: int) -> bool:
    """Fail a queued trial; False where another process has taken it, to run it or to withdraw it.

    Under a claim: if this process vanishes in between, workers queue the trial again after a grace, not after the hour
    that a running trial without a claim is given.
    """
    claim = Claim(f"{socket.gethostname()}:{os.getpid()}")
    if not fleet.claim(trial_id, claim):
        return False
    fleet.write(trial_id, claim, Batch(user_attrs={REASON: DUPLICATE}, state=TrialState.FAIL))
    return True


def bind_data(study: optuna.Study, fingerprint: str | None, schema: Schema = LOB) -> None:
    """Bind the study to the data with this fingerprint and schema. Raises `SearchError` where it is bound to other
    data, or to the same under another schema."""
    if fingerprint is None:
        return
    if not schema.is_challenge and SCHEMA not in study.user_attrs:
        study.set_user_attr(SCHEMA, schema.document())
    bound = study.user_attrs.get(FINGERPRINT)
    if bound is None:
        study.set_user_attr(FINGERPRINT, fingerprint)
    elif bound != fingerprint:
        raise SearchError(
            f"study {study.study_name!r} belongs to data {bound[:12]}, this is data {fingerprint[:12]}: scores on "
            "different data cannot be compared; use the study's data, or create a study under another name"
        )


def refuse_past_end(spec: StudySpec) -> None:
    """Raise `SearchError` where the study's `until` is in the past."""
    if spec.budget.until is not None and spec.budget.until <= datetime.now(UTC):
        raise SearchError(
            f"budget.until of study {spec.name!r} is {spec.budget.until:%Y-%m-%d %H:%M %Z}, which is past: "
            "move it or remove it from the study file"
        )


def require_same_plugins(study: optuna.Study, plugins: Sequence[dict[str, Any]]) -> None:
    """Raise `StudyExistsError` where the study was created with another source of a plugin that is given now."""
    stored = {document["file"]: document["sha256"] for document in study.user_attrs.get(PLUGINS, ())}
    for document in plugins:
        if stored and stored.get(document["file"]) != document["sha256"]:
            raise StudyExistsError(
                f"study {study.study_name!r} is there already with another {document['file']} (SHA-256 "
                f"{str(stored.get(document['file']))[:16]}, this one {document['sha256'][:16]}): runs of both "
                "could not be compared; give the study file another name"
            )


def differences(old: StudySpec, new: StudySpec) -> dict[str, tuple[Any, Any]]:
    """Differences of two definitions by dotted name: (old value, new value), None where one has no such entry."""
    flat_old, flat_new = _flat(old), _flat(new)
    names = dict.fromkeys([*flat_old, *flat_new])
    return {n: (flat_old.get(n), flat_new.get(n)) for n in names if flat_old.get(n) != flat_new.get(n)}


def describe_differences(found: dict[str, tuple[Any, Any]]) -> str:
    """`lr: 0.001 -> 0.002; ...` in one line, three at most."""
    shown = [f"{name}: {_brief(old)} -> {_brief(new)}" for name, (old, new) in list(found.items())[:3]]
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(shown) + more


def _define(study: optuna.Study, spec: StudySpec, artifacts: str | None, attributes: dict[str, Any]) -> None:
    """Store the definition, whole and at once, unless another process has stored one in the meantime."""
    if study.get_trials(deepcopy=False):
        if SPEC in study.user_attrs:  # another process has created it since: its definition came before its trials
            return
        raise SearchError(
            f"study {study.study_name!r} exists already, and lobtuna did not create it: give the study file another "
            "name"
        )
    if artifacts is not None:
        open_artifacts(artifacts)  # refuse a URL that cannot work now, not in the first worker
        attributes = {ARTIFACTS: artifacts, **attributes}
    whole = {**attributes, VERSION: version("lobtuna"), QUESTION: spec.question, SPEC: spec.to_json()}
    opened = storage_of(study)
    fleet = opened.store.fleet if isinstance(opened, StoreStorage) else PlainFleet(opened)  # in memory: one process
    fleet.redefine(study_id_of(study), SPEC, None, whole)


def _require_same(study: optuna.Study, spec: StudySpec, artifacts: str | None) -> None:
    found = differences(spec_of(study), spec)
    found.pop("question", None)
    if artifacts is not None and artifacts != study.user_attrs.get(ARTIFACTS):
        found["artifacts"] = (study.user_attrs.get(ARTIFACTS) or "the database", artifacts)
        raise StudyExistsError(
            f"study {spec.name!r} is there already with other artifacts ({describe_differences(found)}): they stay "
            "where they are; leave --artifacts out, or create a study under another name"
        )
    if not found:
        return
    if {name.partition(".")[0] for name in found} <= set(CHANGEABLE):
        effect = "changes it in place"
    else:
        effect = "opens the next revision and imports the trials that fit"
    hint = f"add --revise, which {effect}, or give the study file another name"
    storage = storage_of(study)
    newest = revisions(storage, spec.name)[-1]
    if newest != spec.name and not set(differences(spec_of(load_study(storage, newest)), spec)) - {"question"}:
        hint = f"its revision {newest!r} has the definition of the file: work on that one"
    raise StudyExistsError(
        f"study {spec.name!r} is there already with another definition ({describe_differences(found)}): {hint}"
    )


def _flat(spec: StudySpec) -> dict[str, Any]:
    document = spec.to_json()
    del document["name"]
    flat: dict[str, Any] = {}
    for section, content in document.items():
        if isinstance(content, dict):
            flat |= {name if section == "parameters" else f"{section}.{name}": v for name, v in content.items()}
        else:
            flat[section] = content
    return flat


def _brief(value: Any) -> str:
    text = "nothing" if value is None else str(value).replace("'", "")
    return text if len(text) <= 60 else text[:57] + "..."
