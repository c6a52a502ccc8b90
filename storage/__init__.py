"""Stores studies and checkpoints: `open_store` opens a database; all artifact stores share one protocol."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from storage.url import redact

if TYPE_CHECKING:
    from storage.backends.registry import open_storage, open_store
    from storage.store import Store, store_of

__all__ = ["open_store", "open_storage", "Store", "store_of", "redact"]

# Loaded when first asked for: `lobtuna --help` must not wait for Optuna.
MODULES = {
    "open_store": "storage.backends.registry",
    "open_storage": "storage.backends.registry",
    "Store": "storage.store",
    "store_of": "storage.store",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name. Raises `AttributeError` for any other."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)
