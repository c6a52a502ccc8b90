"""The promise of every artifact store: several artifacts in one call, whether or not it has transactions."""

import io
from collections.abc import Iterator
from typing import BinaryIO

from storage.artifacts.entry import Artifacts, Entry


class Shelf(Artifacts):
    """The least that a store must bring itself."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}

    def open_reader(self, artifact_id: str) -> BinaryIO:
        return io.BytesIO(self.bodies[artifact_id])

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self.bodies[artifact_id] = content_body.read()

    def remove(self, artifact_id: str) -> None:
        del self.bodies[artifact_id]

    def entries(self) -> Iterator[Entry]:
        yield from (Entry(name, len(body), 0.0) for name, body in self.bodies.items())


def test_a_store_without_transactions_takes_several() -> None:
    """Each is written under its id; none is left out, an empty one included."""
    shelf = Shelf()
    shelf.write_all({"aa": b"first", "bb": b""})
    assert shelf.open_reader("aa").read() == b"first"
    assert [(entry.artifact_id, entry.size) for entry in shelf.entries()] == [("aa", 5), ("bb", 0)]
