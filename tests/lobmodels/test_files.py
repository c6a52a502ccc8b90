"""A file appears whole or not at all, and a refusal says which argument to change."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lobmodels.errors import OutputError
from lobmodels.files import appearing, writable_folder, write_atomically


def test_it_is_written_and_replaced(tmp_path: Path) -> None:
    """Bytes as they are, text as UTF-8, folders made; a second write replaces the first and leaves nothing beside."""
    path = tmp_path / "new" / "folder" / "a.txt"
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    write_atomically(path, "Größe")
    assert path.read_text(encoding="utf-8") == "Größe"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    """Whatever ends the writing, the old content stays and no temporary file does."""
    path = tmp_path / "a.npy"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), appearing(path) as partial:
        assert partial.suffix == ".npy" and partial.parent == tmp_path
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npy"]


def test_a_killed_writer_leaves_what_was_there(tmp_path: Path) -> None:
    """A process that dies in the middle has not touched the file."""
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom lobmodels.files import appearing\n"
        "with appearing(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half')\n    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    assert path.read_text() == "old"


@pytest.mark.parametrize("below", ["a.txt", "folder/a.txt"])
def test_a_place_that_cannot_be(tmp_path: Path, below: str) -> None:
    """A file where a folder should be is one line with the reason and the argument."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written \(.*\); choose another `save`") as error:
        write_atomically(tmp_path / "file" / below, b"", "save")
    assert error.value.arguments == ("save",)
    with pytest.raises(OutputError, match="cannot be written"):
        writable_folder(tmp_path / "file" / "below")


def test_a_full_disk_says_how_much_is_free(tmp_path: Path) -> None:
    """The reason names the free space, and the half of the file that was written is removed."""
    path = tmp_path / "a.txt"
    with pytest.raises(OutputError, match=r"No space left on device, \d+\.\d\d GB free"), appearing(path) as partial:
        partial.write_text("half")
        raise OSError(28, os.strerror(28))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_made_ready(tmp_path: Path) -> None:
    """It exists afterwards, with its parents; an existing one is fine."""
    for _ in range(2):
        writable_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
