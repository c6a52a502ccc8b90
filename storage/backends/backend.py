"""What one kind of database brings: how its URLs are read, and how one is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from storage.store import Store
from storage.url import StorageUrl


@dataclass(frozen=True)
class Connections:
    """How many connections to its database one process keeps, and how many more it opens in passing.

    A worker's threads take turns on one; a second is opened when one of them finds it in use, and closed afterwards.
    """

    kept: int = 1
    passing: int = 1


class Opener(Protocol):
    """Opens a checked URL."""

    def __call__(self, url: StorageUrl, *, patience: float, opening: float, connections: Connections) -> Store:
        """Wait `opening` seconds for a database that is away, and afterwards `patience` seconds in every call."""
        ...


@dataclass(frozen=True)
class Backend:
    """One kind of database.

    `parse` gets what stands behind `://` and the whole URL for messages; it raises `UrlError` with the broken rule.
    `sql` says that this process talks SQL to it, so that `lobtuna proxy` can serve it.
    """

    parse: Callable[[str, str], StorageUrl]
    open: Opener
    sql: bool = False
