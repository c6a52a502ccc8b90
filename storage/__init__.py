"""Where studies and checkpoints live: databases behind one door, artifacts behind one protocol."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from storage.url import redact

if TYPE_CHECKING:
    from storage.backends.database import open_storage

__all__ = ["open_storage", "redact"]


def __getattr__(name: str) -> Any:
    """Load the database side when it is first asked for: `lobtuna --help` must not wait for optuna."""
    if name == "open_storage":
        return import_module("storage.backends.database").open_storage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
