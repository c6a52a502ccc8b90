"""Finds out whether a file of the user's hides one of lobtuna's own packages, whose names are common words."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("search", "storage", "lobmodels")


def require_own_packages() -> None:
    """Raise `ImportError` with the file that is in the way where `import search` would not find lobtuna's package.

    Python looks first in the folder of the script or notebook, where a file of the user's may be called the same.
    """
    for name in PACKAGES:
        found = _origin(name)
        if found is None or found.parent != _home() / name:
            raise ImportError(_hidden(name, found))


def _home() -> Path:
    return Path(__file__).resolve().parents[1]


def _origin(name: str) -> Path | None:
    """The file that `import NAME` loads or has loaded; None where there is none, or a folder without `__init__.py`."""
    loaded = sys.modules.get(name)
    spec = getattr(loaded, "__spec__", None) if loaded is not None else find_spec(name)
    file = getattr(loaded, "__file__", None) or (spec.origin if spec is not None else None)
    return None if file is None else Path(file).resolve()


def _hidden(name: str, found: Path | None) -> str:
    if found is None:
        return f"lobtuna's own package {name!r} is not found in {_home()}: install lobtuna again"
    return (
        f"lobtuna has a package {name!r}, and {found} is in its way: rename that file or folder, or start Python in "
        "another folder; then start it again"
    )
