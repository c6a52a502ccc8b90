"""Feature groups of a user's, beside those of `lobmodels.features`: the columns they read and give, and their code.

What a plugin declares of a group is known wherever a configuration names it. Its code, in torch, is there only where
the plugin was run. It computes in double precision from raw columns, on whole sequences and, in the graph that a
submission carries, one row at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lobmodels.errors import ConfigError
from lobmodels.features import NAMES
from lobmodels.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 1e6  # of a feature's size, as the runtime has it for every column of a row
Settings = tuple[tuple[str, Any], ...]  # the groups' parameters with their values, by name


@dataclass(frozen=True)
class Columns:
    """What a group is known by without its code: raw columns by name, names of its own, and its parameters."""

    reads: tuple[str, ...]
    gives: tuple[str, ...]
    parameters: tuple[str, ...] = ()


DECLARED: dict[str, Columns] = {}  # by the group's name
CODE: Registry[Callable[[SimpleNamespace], Any]] = Registry("feature group of a plugin")
"""Each entry builds a group from its parameters: an object with `initial_state`, `forward` and `forward_step`."""


def names_of(groups: Iterable[str]) -> tuple[str, ...]:
    """Names of the features that `groups` append to the raw columns, in order, plugins' groups included."""
    return tuple(name for group in groups for name in (NAMES[group] if group in NAMES else DECLARED[group].gives))


class OwnFeatures:
    """One group of a plugin, built for the values of its parameters among `settings`.

    Raises `ConfigError` where the plugin's source was not run in this process.
    """

    def __init__(self, name: str, settings: Settings = ()) -> None:
        if name not in CODE.names:
            raise ConfigError(
                f"{name}=True is a feature group of a plugin whose source was not run here: name its file with "
                "`plugin`, or load it with lobtuna.plugin",
                arguments=["plugin"],
            )
        self.name, self.columns = name, DECLARED[name]
        self.settings = tuple((key, value) for key, value in settings if key in self.columns.parameters)
        self.inner = CODE[name](SimpleNamespace(**dict(self.settings)))

    def whole(self, x: Tensor) -> Tensor:
        """Raw columns of whole sequences (T, B, reads) to features (T, B, gives), float64."""
        return self._bounded(self.inner.forward(x))

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """The state before a sequence: zeros."""
        return tuple(self.inner.initial_state(batch))

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One row (B, reads) and the state to features (B, gives), float64, and the next state."""
        found, following = self.inner.forward_step(x, state)
        return self._bounded(found), tuple(following)

    @staticmethod
    def _bounded(x: Tensor) -> Tensor:
        return x.double().clamp(-LIMIT, LIMIT)


class RowFeatures:
    """A group whose features depend on their own row alone: one function (..., reads) to (..., gives) is both forms."""

    def __init__(self, function: Callable[[Tensor, SimpleNamespace], Tensor], config: SimpleNamespace) -> None:
        self.function, self.config = function, config

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """There is none."""
        return ()

    def forward(self, x: Tensor) -> Tensor:
        """Rows of whole sequences."""
        return self.function(x, self.config)

    def forward_step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One row."""
        return self.function(x, self.config), ()
