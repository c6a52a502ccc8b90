"""From a study file to a study in the database: what `create`, `run` and Python users do before the first trial."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from lobmodels.errors import PluginError
from lobmodels.plugins.source import Source
from lobmodels.schema_file import find_schema
from search.errors import SearchError, SpecError
from search.report.note import note_text, save_note
from search.report.record import read_study
from search.study.create import bind_data, create_study, refuse_past_end
from search.study.open import existing_storage, load_study, revisions, study_names
from search.study.plugins import load_plugins, stored_plugins, used_plugins
from search.study.revise import Revision
from search.study.revise import revise as apply_revision
from search.studyfile.spec import StudySpec, load_spec
from storage.backends.registry import open_storage, parse_url
from storage.errors import StorageError

if TYPE_CHECKING:
    from lobmodels.data import Dataset


log = logging.getLogger(__name__)

LOOK = 2.0  # seconds that a database is waited for where only a hint depends on it


@dataclass(frozen=True)
class Created:
    """A study that is in the database now; `existed`: it was there already, as the file describes it."""

    study: optuna.Study
    spec: StudySpec
    existed: bool
    warnings: tuple[str, ...] = ()  # feature groups that the study searches and that are constant on its data

    @property
    def searched(self) -> int:
        """Parameters that differ between trials."""
        return len(self.spec.searched())

    @property
    def fixed(self) -> int:
        """Parameters that the file names and does not search."""
        return len(self.spec.parameters) - self.searched

    @property
    def waiting(self) -> int:
        """Trials in the queue."""
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def read_definition(file: Path, plugins: Sequence[Path], data: Path | None, url: str) -> tuple[StudySpec, list[Source]]:
    """The study file, and those of the `plugins` and of installed ones that it uses, checked as `checked_plugins` does.

    Raises `SpecError` that lists every problem of the file, `PluginError` for a plugin that cannot be used,
    `SearchError` for one that nothing uses, and where only a plugin is missing with which the study in the database
    `url` was created.
    """
    sources = load_plugins(plugins)
    try:
        spec = load_spec(file)
    except SpecError as error:
        given = {source.digest for source in sources}
        missing = [source for source in _stored_plugins(url, error.name) if source.digest not in given]
        if not missing:
            raise
        spec = load_spec(file)  # its words are known by now: what is still wrong is wrong
        raise SearchError(_forgotten(spec.name, file, missing)) from None
    return spec, checked_plugins(spec, sources, len(plugins), data)


def _stored_plugins(url: str, name: str | None) -> list[Source]:
    """The plugins of the study `name` in its newest revision, declared here; none where that cannot be read."""
    try:
        storage = existing_storage(url, name, patience=LOOK)
        studies = revisions(storage, name or "")
        attributes = load_study(storage, studies[-1]).user_attrs if studies else {}
        return stored_plugins(attributes)
    except (SearchError, StorageError, PluginError) as error:
        log.debug("no plugins of study %s: %s", name, error)
        return []


def _forgotten(name: str, file: Path, missing: Sequence[Source]) -> str:
    parts = ", ".join(f"{part.kind} {part.name}" for source in missing for part in source.declarations)
    files = " ".join(f"--plugin {source.file}" for source in missing)
    return (
        f"study {name!r} was created with parts of yours ({parts}), which {file} names too: add {files}, with the path "
        "of your own copy"
    )


def checked_plugins(spec: StudySpec, sources: Sequence[Source], named: int, data: Path | None) -> list[Source]:
    """`used_plugins`, checked on random data with the columns and targets of the set in folder `data`, the challenge's
    where none is named. Raises `SearchError` also where that set does not allow what `spec` searches, `DataError` for a
    folder without data."""
    if data is None:
        return used_plugins(spec, sources, named)
    from lobmodels.data.sequences import member_paths
    from search.study.feasible import require_allowed

    member_paths(data)
    schema = find_schema(data)
    require_allowed(spec, schema)
    return used_plugins(spec, sources, named, schema)


def create(
    spec: StudySpec,
    url: str,
    data: Path | None = None,
    *,
    artifacts: str | None = None,
    plugins: Sequence[Source] = (),
) -> Created:
    """Create the study of `spec` with its baselines queued, bound to the data in folder `data` where one is given, and
    with the source of its `plugins`.

    A study that is there already with this definition is opened. Raises `StudyExistsError` where it has another one,
    `SearchError` for other data or an end in the past, `DataError` for data that cannot be read.
    """
    refuse_past_end(spec)
    dataset = _trainable(spec, data)
    existed = _is_there(url, spec.name)
    study = create_study(
        spec, url, None if dataset is None else dataset.fingerprint, artifacts=artifacts, plugins=plugins
    )
    if dataset is not None:
        bind_data(study, dataset.fingerprint, dataset.schema)
    save_note(study, note_text(read_study(study), ""))  # so that the dashboard shows from the start how to join
    return Created(study, spec, existed, _warnings(spec, dataset))


def revise(
    spec: StudySpec,
    url: str,
    data: Path | None = None,
    *,
    artifacts: str | None = None,
    plugins: Sequence[Source] = (),
) -> Revision:
    """Change the newest revision of the study to `spec`: in place, or as `NAME@N` with the trials that fit.

    Raises as `create` does, and `SearchError` where the trials could not be compared.
    """
    refuse_past_end(spec)
    if artifacts is not None:
        raise SearchError(
            "--artifacts cannot change in a revision: the imported trials' checkpoints stay where they are"
        )
    dataset = _trainable(spec, data)
    return apply_revision(spec, url, None if dataset is None else dataset.fingerprint, plugins=plugins)


def _trainable(spec: StudySpec, data: Path | None) -> Dataset | None:
    """The data in a folder, None where none is named. Raises `SearchError` where no configuration of `spec` can be
    trained on it."""
    if data is None:
        return None
    from lobmodels.data import load_dataset
    from search.study.feasible import require_trainable

    dataset = load_dataset(data)
    require_trainable(spec, dataset)
    return dataset


def _warnings(spec: StudySpec, dataset: Dataset | None) -> tuple[str, ...]:
    if dataset is None:
        return ()
    from search.study.feasible import dead_groups

    return tuple(dead_groups(spec, dataset))


def _is_there(url: str, name: str) -> bool:
    """Whether the database holds a study of this name; a database file that is not there is not created."""
    path = parse_url(url).path
    return (path is None or path.exists()) and name in study_names(open_storage(url))
