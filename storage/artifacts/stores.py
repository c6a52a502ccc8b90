"""From an artifact URL, or none, to the store that holds a study's artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from storage.artifacts.bucket import GoogleArtifacts, S3Artifacts
from storage.artifacts.database import DatabaseArtifacts
from storage.artifacts.entry import Entry, Listing
from storage.artifacts.filesystem import FolderArtifacts
from storage.backends.database import database_engine, journal_file
from storage.errors import UrlError
from storage.url import redact

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

__all__ = ["ATTRIBUTE", "Entry", "artifacts_of", "open_artifacts"]

ATTRIBUTE = "artifacts"  # study user attribute: the URL of its artifact store; absent means the database itself
FORMS = "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or a folder"


def artifacts_of(study: Study) -> Listing:
    """The store that holds the artifacts of `study`, as its creator chose it."""
    return open_artifacts(study.user_attrs.get(ATTRIBUTE), study._storage)


def open_artifacts(url: str | None, storage: BaseStorage) -> Listing:
    """The store behind `url`; None means the study's own database. Raises `UrlError` or `ArtifactError`."""
    if url is None:
        return _beside(storage)
    scheme, separator, rest = url.partition("://")
    if not separator:
        return FolderArtifacts(Path(url).expanduser())
    if "@" in rest.split("/")[0]:
        raise UrlError(f"artifacts {redact(url)!r}: credentials belong in the environment, not in the URL")
    if scheme == "file":
        return FolderArtifacts(Path(unquote(rest)))
    bucket, _, prefix = rest.partition("/")
    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    if scheme == "s3" and bucket:
        return S3Artifacts(bucket, prefix)
    if scheme == "gs" and bucket:
        return GoogleArtifacts(bucket, prefix)
    raise UrlError(f"artifacts {redact(url)!r} names no store: use {FORMS}")


def _beside(storage: BaseStorage) -> Listing:
    """The default: the database's own tables, through the proxy where there is one, or a folder by the journal."""
    engine = database_engine(storage)
    if engine is not None:
        return DatabaseArtifacts(engine)
    journal = journal_file(storage)
    if journal is not None:
        return FolderArtifacts(journal.with_name(f"{journal.name}.artifacts"))
    from storage.backends.grpc import ProxyArtifacts, ProxyStorage

    inner = getattr(storage, "inner", storage)
    if isinstance(inner, ProxyStorage):
        return ProxyArtifacts(inner)
    raise UrlError(f"{type(storage).__name__} keeps no artifacts of its own: use {FORMS}")
