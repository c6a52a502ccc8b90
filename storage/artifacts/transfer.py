"""Uploads and downloads artifacts: bytes are stored before metadata, and checked against their id when read."""

from __future__ import annotations

import hashlib
import io
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from optuna.artifacts import ArtifactMeta
from optuna.artifacts.exceptions import ArtifactNotFound

from storage.artifacts.entry import Artifacts, ArtifactStore
from storage.errors import ArtifactError
from storage.optuna_internals import study_id_of, trial_id_of

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

PREFIX = "artifacts:"  # Optuna's system attribute, which the dashboard reads
# The database's id, where the store is no part of it; the trial's id; random digits; the SHA-256 of the bytes.
CHECKED = re.compile(r"(?:(?P<owner>[0-9a-f]{16})-)?(?P<trial>[0-9a-f]{8})[0-9a-f]{8}-(?P<digest>[0-9a-f]{64})")
UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.partial")  # follows the id of a file that is not complete


def new_artifact_id(data: bytes, owner: str = "", trial_id: int | None = None) -> str:
    """A fresh id for `data`: the id of the database that owns it, the trial that it is for, random digits, so that
    equal bytes can be removed one by one, and their SHA-256.

    Until the trial names the artifact, its id alone shows `lobtuna gc` that it is needed. Without a trial, and in
    earlier versions, those digits are random as well.
    """
    trial = secrets.token_hex(4) if trial_id is None else trial_mark(trial_id)
    return f"{owner}{'-' if owner else ''}{trial}{secrets.token_hex(4)}-{hashlib.sha256(data).hexdigest()}"


def trial_mark(trial_id: int) -> str:
    """The eight digits that stand for a trial of this database id in its artifacts' ids."""
    return f"{trial_id & 0xFFFFFFFF:08x}"


def owner_of(artifact_id: str) -> str | None:
    """The id of the database that owns the artifact or unfinished file of this name; None where the name holds none."""
    match = _parsed(artifact_id)
    return None if match is None else match["owner"]


def trial_mark_of(artifact_id: str) -> str | None:
    """The `trial_mark` in the name of an artifact or unfinished file, or random digits; None where the name has another
    form."""
    match = _parsed(artifact_id)
    return None if match is None else match["trial"]


def _parsed(artifact_id: str) -> re.Match[str] | None:
    match = CHECKED.match(artifact_id)
    if match is None or not (match.end() == len(artifact_id) or UNFINISHED.fullmatch(artifact_id, match.end())):
        return None
    return match


def upload_bytes(store: Artifacts, data: bytes, trial_id: int | None = None) -> str:
    """Store `data` under a fresh id, for a trial if there is one, and return it; nothing refers to it yet."""
    artifact_id = new_artifact_id(data, _owner(store), trial_id)
    store.write(artifact_id, io.BytesIO(data))
    return artifact_id


def upload_all(store: Artifacts, items: Sequence[bytes], trial_id: int | None = None) -> list[str]:
    """Store several blobs, in one transaction where the store has them; returns their fresh ids in order."""
    owner = _owner(store)
    ids = [new_artifact_id(data, owner, trial_id) for data in items]
    store.write_all(dict(zip(ids, items, strict=True)))
    return ids


def attribute_of(artifact_id: str, filename: str, mimetype: str) -> tuple[str, str]:
    """Key and value of the system attribute that attaches an artifact to a trial or a study."""
    meta = ArtifactMeta(artifact_id=artifact_id, filename=filename, mimetype=mimetype, encoding=None)
    return PREFIX + artifact_id, json.dumps(asdict(meta))


def upload(
    store: Artifacts,
    owner: Study | Trial | FrozenTrial,
    storage: BaseStorage,
    data: bytes,
    filename: str,
    mimetype: str = "application/octet-stream",
) -> str:
    """Store `data`, then record it with its study or running trial. Returns the artifact's id."""
    from optuna import Study

    artifact_id = upload_bytes(store, data, None if isinstance(owner, Study) else trial_id_of(owner))
    key, value = attribute_of(artifact_id, filename, mimetype)
    if isinstance(owner, Study):
        storage.set_study_system_attr(study_id_of(owner), key, value)
    else:
        storage.set_trial_system_attr(trial_id_of(owner), key, value)
    return artifact_id


def _owner(store: Artifacts) -> str:
    return "" if store.identify is None else store.identify()


def download(store: ArtifactStore, artifact_id: str) -> bytes:
    """The artifact's bytes, checked against the SHA-256 in its id. Raises `ArtifactError`."""
    try:
        with store.open_reader(artifact_id) as reader:
            data = reader.read()
    except ArtifactNotFound:
        raise ArtifactError(
            f"artifact {artifact_id} is not in its store: retention or gc removed it, or --artifacts names another"
        ) from None
    match = CHECKED.fullmatch(artifact_id)
    if match and hashlib.sha256(data).hexdigest() != match["digest"]:
        raise ArtifactError(
            f"artifact {artifact_id} is corrupt: its {len(data)} bytes have another checksum; train its run again"
        )
    return data
