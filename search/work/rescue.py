"""Saves a finished run to disk when the database cannot take it, and stores it in the database later."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.errors import RunNotSavedError, SearchError
from search.study.open import load_study
from search.study.record import CHECKPOINT, KEY
from storage.artifacts import Artifacts, attribute_of, upload_all
from storage.claims import CLAIM, Batch, Claim
from storage.optuna_internals import storage_of, study_id_of, trial_id_of
from storage.store import artifacts_of, store_of

FORMAT = 1
SUFFIX, PARTIAL = ".run", ".partial"
STANDS_FOR = "lobtuna:stands_for"  # trial system attribute: the digest of the saved run that the trial was made for
UPLOAD_GRACE = 300.0  # seconds until such a trial is queued again, if the process that made it has vanished


@dataclass(frozen=True)
class SavedRun:
    """A finished run that is not in the database: its record, and its files as (name, type, bytes)."""

    study: str
    number: int
    trial_id: int
    batch: Batch  # everything about the trial: parameters, reports, attributes, outcome
    files: list[tuple[str, str, bytes]]  # the first is the checkpoint

    @property
    def digest(self) -> str:
        """Thirty-two hex digits that name this run among all others, of the same configuration and seed as well."""
        return hashlib.blake2b(json.dumps(self.batch.to_json()).encode(), digest_size=16).hexdigest()

    @staticmethod
    def of(study: str, trial: FrozenTrial, end: Batch, files: list[tuple[str, str, bytes]]) -> SavedRun:
        """The run of a worker's own trial; `end` is the write that ends it: its outcome and attributes."""
        whole = Batch(
            params={name: (d.to_internal_repr(trial.params[name]), d) for name, d in trial.distributions.items()},
            intermediate=dict(trial.intermediate_values),
            user_attrs=dict(trial.user_attrs),
        )
        whole.merge(end)
        return SavedRun(study, trial.number, trial_id_of(trial), whole, files)

    def save(self, folder: Path) -> Path:
        """Write one file into `folder` and return it. Raises `RunNotSavedError` where that fails."""
        path, file = self.write(folder)
        file.close()
        return path

    def write(self, folder: Path, hold: Callable[[BinaryIO], None] = lambda _: None) -> tuple[Path, BinaryIO]:
        """Write one file into `folder`, whole or not at all; returns its path and the file, still open.

        `hold` gets the file before it has its final name. Raises `RunNotSavedError` where that fails.
        """
        path = folder / f"{self.study}-{self.number}{SUFFIX}"
        partial = folder / f"{path.stem}.{os.getpid()}{PARTIAL}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = partial.open("w+b")
            hold(file)
            self._write_to(file)
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise RunNotSavedError(
                f"trial {self.number} finished, but neither the database nor {path} can store it: {error.strerror}"
            ) from error
        return path, file

    def _write_to(self, file: BinaryIO) -> None:
        document = {
            "format": FORMAT,
            "study": self.study,
            "number": self.number,
            "trial_id": self.trial_id,
            "batch": self.batch.to_json(),
            "files": [[name, kind] for name, kind, _ in self.files],
        }
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("run.json", json.dumps(document))
            for name, _, data in self.files:
                archive.writestr(name, data)
        file.flush()

    @staticmethod
    def load(path: Path) -> SavedRun:
        """Read what `save` wrote. Raises `SearchError`."""
        try:
            with zipfile.ZipFile(path) as archive:
                document = json.loads(archive.read("run.json"))
                if document["format"] != FORMAT:
                    raise SearchError(f"{path} has format {document['format']}; this lobtuna reads {FORMAT}")
                files = [(name, kind, archive.read(name)) for name, kind in document["files"]]
            batch = Batch.from_json(document["batch"])
            return SavedRun(document["study"], document["number"], document["trial_id"], batch, files)
        except FileNotFoundError:
            raise SearchError(f"{path}: no such file; a worker prints the name of each run that it saves") from None
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise SearchError(f"{path} is not a saved run, or is damaged: {error}") from None


def store_files(
    store: Artifacts, files: list[tuple[str, str, bytes]], trial_id: int | None, *, checkpoint: bool = True
) -> Batch:
    """Upload `files` of a trial; returns the attributes that refer to them. With `checkpoint`, the first file is a
    checkpoint. Without `trial_id`, `lobtuna gc` may remove them after an hour if they are not recorded by then."""
    batch = Batch()
    ids = upload_all(store, [data for _, _, data in files], trial_id)
    for (name, kind, _), artifact_id in zip(files, ids, strict=True):
        key, value = attribute_of(artifact_id, name, kind)
        batch.system_attrs[key] = value
    if ids and checkpoint:
        batch.user_attrs[CHECKPOINT] = ids[0]
    return batch


def submit(saved: SavedRun, storage: BaseStorage, worker: str) -> tuple[int, str]:
    """Store a saved run in the database. Returns the number of its trial and what was done.

    A trial that is queued or running again, by any worker, is completed with this result. If it has ended otherwise
    meanwhile, the run becomes a new trial. A run that was stored before is left as it is.

    The new trial is there before the run's files are stored: their ids show it, so that `lobtuna gc` leaves them. It is
    marked with the run: where this process ends before the trial is complete, the next call completes the same one, and
    until then it is queued again after `UPLOAD_GRACE`, like any trial of a worker that vanished.
    """
    study = load_study(storage, saved.study)
    trial, text = trial_of(saved, study), "stored"
    if trial is None or (trial.state.is_finished() and trial.state != TrialState.COMPLETE):
        trial, text = _stand_in(saved, study, worker), "stored as a new trial, because its own has ended without it"
    if trial.state == TrialState.COMPLETE:
        return trial.number, "was stored before; nothing to do"
    trial_id, claim, fleet = trial_id_of(trial), Claim(worker), store_of(storage).fleet
    batch = Batch()
    batch.merge(saved.batch)
    batch.merge(store_files(artifacts_of(study), saved.files, trial_id))
    fleet.seize(trial_id, claim)
    fleet.write(trial_id, claim, batch)
    return trial.number, text


def trial_of(saved: SavedRun, study: optuna.Study) -> FrozenTrial | None:
    """The run's trial, unless the database has no trial of this number and configuration."""
    same = [t for t in study.get_trials(deepcopy=False) if t.number == saved.number]
    if not same or same[0].user_attrs.get(KEY) not in (None, saved.batch.user_attrs.get(KEY)):
        return None
    return same[0]


def _stand_in(saved: SavedRun, study: optuna.Study, worker: str) -> FrozenTrial:
    """The trial that takes the place of the run's own: one that an earlier call has made, or a new one."""
    made = [t for t in study.get_trials(deepcopy=False) if t.system_attrs.get(STANDS_FOR) == saved.digest]
    usable = [t for t in made if t.state == TrialState.COMPLETE or not t.state.is_finished()]
    if usable:
        return min(usable, key=lambda t: (t.state != TrialState.COMPLETE, t.number))
    batch, claim = saved.batch, Claim(worker, UPLOAD_GRACE)
    template = create_trial(
        state=TrialState.RUNNING,
        params={name: d.to_external_repr(value) for name, (value, d) in batch.params.items()},
        distributions={name: distribution for name, (_, distribution) in batch.params.items()},
        user_attrs=batch.user_attrs,
        system_attrs={CLAIM: claim.to_json(), STANDS_FOR: saved.digest},
    )
    storage = storage_of(study)
    return storage.get_trial(storage.create_new_trial(study_id_of(study), template))
