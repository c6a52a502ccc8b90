"""Promises of artifacts in a folder: whole files only, no id leaves the folder, the first write creates it."""

import io
from pathlib import Path

import pytest

from storage.artifacts import open_artifacts
from storage.artifacts.filesystem import FolderArtifacts
from storage.errors import ArtifactError, ArtifactNotStored


def test_a_folder_holds_whole_files_only(tmp_path: Path) -> None:
    """A write that fails half-way leaves no file; ids cannot leave the folder."""
    store = open_artifacts(str(tmp_path / "a"))

    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(28, "No space left on device")

    with pytest.raises(ArtifactNotStored, match="No space left"):
        store.write("00000000-0000", Breaking(b"data"))
    assert list(store.entries()) == []
    with pytest.raises(ArtifactError, match="is not valid"):
        store.open_reader("../../etc/passwd")


def test_a_folder_that_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    """A path below a file is no folder, and the URL is refused before anything is to be stored."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="name one that can be written"):
        open_artifacts(str(tmp_path / "file" / "artifacts"))


def test_the_first_write_creates_the_folder(tmp_path: Path) -> None:
    """Looking into a folder that is not there finds nothing and creates nothing."""
    store = FolderArtifacts(tmp_path / "later")
    assert list(store.entries()) == []
    assert not store.folder.exists()
    store.write("00000000-0000", io.BytesIO(b"data"))
    assert store.open_reader("00000000-0000").read() == b"data"
