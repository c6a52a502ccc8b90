"""A verdict over all checks of a submission; the command's test compares with a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from lobmodels.scoring.verify import Check
from search.ship.verify import verify


def test_failed_checks_are_named(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails makes the submission fail; without digests it says that weights were not compared."""
    checks = [Check("reset", "numba", 1e-7, 1e-5), Check("average", "numpy", 1.0, 1e-5)]
    monkeypatch.setattr("lobmodels.scoring.verify.verify", lambda *_: checks)
    found = verify(Path("s.zip"), small_data)
    assert not found.ok and found.failed == ["average (numpy)"] and not found.weights_checked
