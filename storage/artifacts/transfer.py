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
# The database's id, where the store is not part of the database; random digits; the SHA-256 of the bytes.
CHECKED = re.compile(r"(?:(?P<owner>[0-9a-f]{16})-)?[0-9a-f]{16}-(?P<digest>[0-9a-f]{64})")
UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.partial")  # follows the id of a file that is not complete


def new_artifact_id(data: bytes, owner: str = "") -> str:
    """A fresh id for `data`: the id of the database that owns it, random digits, so that equal bytes of two trials can
    be removed one by one, and their SHA-256."""
    return f"{owner}{'-' if owner else ''}{secrets.token_hex(8)}-{hashlib.sha256(data).hexdigest()}"


def owner_of(artifact_id: str) -> str | None:
    """The id of the database that owns the artifact or unfinished file of this name; None where the name holds none."""
    match = CHECKED.match(artifact_id)
    if match is None or not (match.end() == len(artifact_id) or UNFINISHED.fullmatch(artifact_id, match.end())):
        return None
    return match["owner"]


def upload_bytes(store: Artifacts, data: bytes) -> str:
    """Store `data` under a fresh id and return it; nothing refers to it yet."""
    artifact_id = new_artifact_id(data, _owner(store))
    store.write(artifact_id, io.BytesIO(data))
    return artifact_id


def upload_all(store: Artifacts, items: Sequence[bytes]) -> list[str]:
    """Store several blobs, in one transaction where the store has them; returns their fresh ids in order."""
    owner = _owner(store)
    ids = [new_artifact_id(data, owner) for data in items]
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

    artifact_id = upload_bytes(store, data)
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
