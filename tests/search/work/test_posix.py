"""Workers need POSIX; `tests/search/cli/test_options.py` asks the commands."""

from __future__ import annotations

import sys

import pytest

from search.errors import SearchError
from search.work.posix import require_posix


def test_windows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the ways on; other systems pass."""
    require_posix()
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SearchError, match="run it in WSL, in a container"):
        require_posix()
