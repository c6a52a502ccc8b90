"""The interface of one kind of database: how its URLs are read, and how one is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from storage.store import Store
from storage.url import StorageUrl


@dataclass(frozen=True)
class Connections:
    """How many database connections one process keeps open, and how many more it may open for a short time.

    A worker's threads share one. A thread that finds it in use opens a second one, which is closed after use.
    """

    kept: int = 1
    passing: int = 1


class Opener(Protocol):
    """Opens a checked URL."""

    def __call__(self, url: StorageUrl, *, patience: float, opening: float, connections: Connections) -> Store:
        """The opened store. Waits up to `opening` seconds for an unreachable database, later `patience` per call."""
        ...


@dataclass(frozen=True)
class Backend:
    """One kind of database.

    `parse` gets the text after `://`, and the whole URL for messages; it raises `UrlError` that names the broken rule.
    `sql`: this process accesses it with SQL, so that `lobtuna proxy` can serve it.
    """

    parse: Callable[[str, str], StorageUrl]
    open: Opener
    sql: bool = False
