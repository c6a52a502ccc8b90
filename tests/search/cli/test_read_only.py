"""A database that may not be written can still be read: an archive, a backup, a standby."""

import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.backends.registry import open_storage
from tests.made_study import make_study
from tests.search.cli.calls import Run

READERS = (["status", "joint"], ["status", "joint", "--json"], ["rank", "joint"])


@pytest.fixture
def media(searched: str, tmp_path: Path) -> Iterator[Path]:
    """A folder on a read-only file system with the searched study in it."""
    folder = tmp_path / "media"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("only root can mount a file system")
    with sqlite3.connect(searched.removeprefix("sqlite:///")) as source, sqlite3.connect(folder / "study.db") as copy:
        source.backup(copy)  # a plain copy of the file would miss what is in the write-ahead log alone
    source.close()
    copy.close()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_study_on_read_only_media_is_read(run: Run, media: Path, tmp_path: Path) -> None:
    """Status, ranking, report and export work; what must write says in one line why it cannot."""
    url = f"sqlite:///{media / 'study.db'}"
    for command in READERS:
        status, out, err = run(*command, "--storage", url)
        assert status == 0 and out, err
    status, _, err = run("report", "joint", "--storage", url, "--output", tmp_path / "page.html")
    assert status == 0, err
    status, _, err = run("replicate", "joint", "--storage", url, "--top", "2", "--seeds", "9")
    assert status == 1 and "cannot be written" in err and err.count("\n") == 1
    assert [file.name for file in media.iterdir()] == ["study.db"]


def test_a_standby_is_read(run: Run, postgres_url: str) -> None:
    """PostgreSQL that refuses every write, as a standby does, is read like any other."""
    make_study(open_storage(postgres_url), 12)
    standby = f"{postgres_url}?options=-c%20default_transaction_read_only%3Don"
    for command in READERS:
        status, out, err = run(*command, "--storage", standby)
        assert status == 0 and out, err
