"""Describes a data set before anything is trained on it: scale, shift, signal, and where the score comes from."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lobmodels.profile.measure import Profile, profile_dataset
    from lobmodels.profile.tabulation import tables

__all__ = ["Profile", "profile_dataset", "tables"]

_HOMES = {
    "Profile": "measure",
    "profile_dataset": "measure",
    "tables": "tabulation",
}


def __getattr__(name: str) -> Any:
    """Load a part when it is first asked for: `data check` compares distributions and must not wait for torch."""
    if name in _HOMES:
        return getattr(import_module(f"lobmodels.profile.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
