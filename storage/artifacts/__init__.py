"""Checkpoints and other bytes: one protocol (Optuna's three methods) over databases, folders and buckets.

An artifact's id ends in the SHA-256 of its bytes, so that every reader can check them and no store has to keep more
than the bytes themselves.
"""

from storage.artifacts.entry import Artifacts, ArtifactStore, Entry
from storage.artifacts.stores import open_artifacts, require_folder
from storage.artifacts.transfer import attribute_of, download, new_artifact_id, upload, upload_all, upload_bytes

__all__ = [
    "Artifacts",
    "ArtifactStore",
    "Entry",
    "attribute_of",
    "download",
    "new_artifact_id",
    "open_artifacts",
    "require_folder",
    "upload",
    "upload_all",
    "upload_bytes",
]
