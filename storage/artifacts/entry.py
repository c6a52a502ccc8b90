"""What an artifact store can do: Optuna's protocol and what lobtuna needs beyond it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class Entry:
    """One stored artifact: its id, its size in bytes, its age in seconds by the store's own clock."""

    artifact_id: str
    size: int
    age: float


class ArtifactStore(Protocol):
    """Optuna's artifact store. Missing artifacts raise `optuna.artifacts.exceptions.ArtifactNotFound`."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The artifact's bytes as a readable file. Raises `ArtifactNotFound`."""
        ...

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store all bytes or nothing. Raises `ArtifactNotStored` where the store takes none at the moment."""
        ...

    def remove(self, artifact_id: str) -> None:
        """Delete the artifact. Raises `ArtifactNotFound` where the store can tell."""
        ...


class Artifacts(ArtifactStore, Protocol):
    """A store that also lists what it holds, for `lobtuna gc`, and takes several artifacts in one call.

    `identify` gives the id of the database whose artifacts are written here, which marks them as its own.
    It is None where the store is part of the database, so that everything in it is the database's.
    """

    identify: Callable[[], str] | None = None

    def entries(self) -> Iterator[Entry]:
        """Every stored artifact."""
        ...

    def write_all(self, bodies: Mapping[str, bytes]) -> None:
        """Store several artifacts by id; stores with transactions store all of them or none."""
        for artifact_id, body in bodies.items():
            self.write(artifact_id, io.BytesIO(body))
