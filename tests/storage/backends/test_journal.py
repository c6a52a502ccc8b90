"""Promises of the journal's backend: other files are refused, artifacts lie in a folder beside the file."""

from pathlib import Path

import pytest

from storage.artifacts import download, upload_bytes
from storage.backends.registry import open_store
from storage.errors import UrlError


def test_artifacts_lie_beside_the_journal(tmp_path: Path) -> None:
    """Opening and listing create no folder; the first artifact does."""
    store = open_store(f"journal://{tmp_path / 'study.log'}")
    folder = tmp_path / "study.log.artifacts"
    assert list(store.artifacts.entries()) == []
    assert not folder.exists()
    artifact_id = upload_bytes(store.artifacts, b"data")
    assert [path.name for path in folder.iterdir()] == [artifact_id]
    assert download(store.artifacts, artifact_id) == b"data"


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    """A file in a folder that does not exist is one line; so is a file that holds something else."""
    with pytest.raises(UrlError, match="name a file that can be written"):
        open_store(f"journal://{tmp_path / 'nowhere' / 'study.log'}")
    (tmp_path / "notes.log").write_text("hello\nworld\n")
    with pytest.raises(UrlError, match="not an Optuna journal"):
        open_store(f"journal://{tmp_path / 'notes.log'}")


def test_one_look_cannot_say_who_is_silent(tmp_path: Path) -> None:
    """Processes that share a file share no clock, and the fleet says so."""
    assert not open_store(f"journal://{tmp_path / 'study.log'}").fleet.shares_clock
