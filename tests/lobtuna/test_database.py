"""Opening a database and listing its studies."""

from __future__ import annotations

from pathlib import Path

import pytest

import lobtuna
from search.errors import StudyNotFoundError


def test_studies_are_listed(exportable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a study; the URL may come from the environment, as for the commands."""
    db = lobtuna.open(exportable)
    assert list(db) == ["joint"] and db["joint"].name == "joint"
    row = db.table().records()[0]
    assert (row["study"], row["complete"], row["replicates"]) == ("joint", 5, 1) and row["best"] == pytest.approx(0.26)
    monkeypatch.setenv("LOBTUNA_STORAGE", exportable)
    assert lobtuna.studies().rows == db.table().rows
    assert "joint" in db._repr_html_()


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    """One line that says how to make one; a password is never shown."""
    with pytest.raises(lobtuna.EXPECTED, match="there is no database"):
        lobtuna.open(f"sqlite:///{tmp_path}/none.db")
    assert not list(tmp_path.iterdir())


def test_an_unknown_study_is_named_with_similar_ones(exportable: str) -> None:
    """As on the command line."""
    with pytest.raises(StudyNotFoundError, match="did you mean joint"):
        lobtuna.open(exportable)["jiont"]
