"""From an artifact URL to the store behind it: a bucket or a folder. A study's own database needs no URL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from storage.artifacts.bucket import GoogleArtifacts, S3Artifacts
from storage.artifacts.entry import Artifacts
from storage.artifacts.filesystem import FolderArtifacts
from storage.errors import ArtifactError, UrlError
from storage.url import redact_url

FORMS = "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or a folder"


def open_artifacts(url: str) -> Artifacts:
    """The store behind `url`; a folder is created. Raises `UrlError` or `ArtifactError`."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _folder(url)
    if "@" in rest.split("/")[0]:
        raise UrlError(f"artifacts {redact_url(url)!r}: credentials belong in the environment, not in the URL")
    opener = SCHEMES.get(scheme)
    if opener is None or not rest.strip("/"):
        raise UrlError(f"artifacts {redact_url(url)!r} names no store: use {FORMS}")
    return opener(rest)


def require_folder(url: str) -> None:
    """Raise `ArtifactError` where `url` names a folder that is not there; what a bucket holds is only known later."""
    scheme, separator, rest = url.partition("://")
    folder = Path(unquote(rest) if separator else url).expanduser()
    if (not separator or scheme == "file") and not folder.is_dir():
        raise ArtifactError(
            f"artifact folder {folder} is not there: name the one that the study was created with, or leave it out "
            "for the database itself"
        )


def _folder(path: str) -> Artifacts:
    store = FolderArtifacts(Path(path).expanduser())
    store.create()
    return store


def _bucket(make: Callable[[str, str], Artifacts]) -> Callable[[str], Artifacts]:
    """Opens BUCKET/PREFIX: `make` gets the bucket, and the prefix ending in a slash or empty."""

    def opener(rest: str) -> Artifacts:
        bucket, _, prefix = rest.partition("/")
        return make(bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else "")

    return opener


SCHEMES: dict[str, Callable[[str], Artifacts]] = {
    "s3": _bucket(S3Artifacts),
    "gs": _bucket(GoogleArtifacts),
    "file": lambda rest: _folder(unquote(rest)),
}
