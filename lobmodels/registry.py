"""Names that a configuration may use, each with what it stands for; an unregistered name is an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from lobmodels.errors import UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """A table from name to value that is filled by decorators and never answers with a default.

    `kind` is what an entry is called in messages, e.g. "loss".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._plugged: set[str] = set()

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that enters a function or class under `name`. Raises ValueError where the name is taken."""
        if name in self._entries:
            raise ValueError(f"two entries for the {self.kind} {name!r}: give the new one another name")

        def enter(entry: T) -> T:
            self._entries[name] = entry
            return entry

        return enter

    def replace(self, name: str, entry: T) -> None:
        """Enter `entry` under `name`, in the place of what is there: for plugins, which may be loaded again."""
        self._entries[name] = entry
        self._plugged.add(name)

    def is_own(self, name: str) -> bool:
        """Whether the entry of `name` is lobtuna's own, not a plugin's."""
        return name in self._entries and name not in self._plugged

    def __getitem__(self, name: str) -> T:
        """The entry of `name`. Raises `UnknownNameError`."""
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self.names)
        return self._entries[name]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order in which they were registered."""
        return tuple(self._entries)
