"""What a store tells about an artifact it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class Entry:
    """One stored artifact: its id, its size in bytes, its age in seconds by the store's own clock."""

    artifact_id: str
    size: int
    age: float


class Store(Protocol):
    """Optuna's artifact store. Missing artifacts raise `optuna.artifacts.exceptions.ArtifactNotFound`."""

    def open_reader(self, artifact_id: str) -> BinaryIO: ...

    def write(self, artifact_id: str, content_body: BinaryIO) -> None: ...

    def remove(self, artifact_id: str) -> None: ...


class Listing(Store, Protocol):
    """A store that can say what it holds: `lobtuna gc` needs it."""

    def entries(self) -> Iterator[Entry]: ...
