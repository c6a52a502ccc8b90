"""Whether workers can run on this system: asked before anything heavy is imported."""

from __future__ import annotations

import sys

from search.errors import SearchError


def require_posix() -> None:
    """Raise `SearchError` on Windows, where workers lack the signals and pipes that they are stopped and watched by."""
    if sys.platform == "win32":
        raise SearchError(
            "lobtuna work does not run on Windows itself: run it in WSL, in a container, or on another machine; all "
            "other commands run here"
        )
