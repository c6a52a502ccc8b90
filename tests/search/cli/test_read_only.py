"""A database that may not be written can still be read: an archive, a backup, a standby."""

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from lobmodels.data import Dataset
from search.study.record import FINGERPRINT
from storage.backends.registry import open_storage
from tests.machines import create, small_study
from tests.made_study import make_study
from tests.search import trained_pool
from tests.search.cli.calls import Run

Enter = Callable[[AbstractContextManager[str]], str]
READERS = (["status", "joint"], ["status", "joint", "--json"], ["rank", "joint"])


@contextmanager
def read_only(database: str, folder: Path) -> Iterator[str]:
    """The URL of a copy of the SQLite `database`, alone on a read-only file system in `folder`."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("only root can mount a file system")
    with sqlite3.connect(database.removeprefix("sqlite:///")) as source, sqlite3.connect(folder / "study.db") as copy:
        source.backup(copy)  # a plain copy of the file would miss what is in the write-ahead log alone
    source.close()
    copy.close()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    yield f"sqlite:///{folder / 'study.db'}"
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def media(searched: str, tmp_path: Path) -> Iterator[Path]:
    """A folder on a read-only file system with the searched study in it."""
    with read_only(searched, tmp_path / "media"):
        yield tmp_path / "media"


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


def test_a_report_scores_what_it_cannot_store(
    run: Run, tmp_path: Path, small_data: Path, small_dataset: Dataset, enter: Enter
) -> None:
    """The first lines of an archived study's page have the ensemble and the ridge, and one line says they are the
    page's alone; ensembles of archived studies are compared."""
    database = f"sqlite:///{tmp_path / 'study.db'}"
    for name in ("joint", "other"):
        study = trained_pool.make_study(database, small_dataset.valid, name=name)
        study.set_user_attr(FINGERPRINT, small_dataset.fingerprint)
        trained_pool.add_runs(study, small_dataset.valid, trained_pool.SCORES)
    url = enter(read_only(database, tmp_path / "media"))
    given = ("--storage", url, "--data", small_data)
    status, _, err = run("report", "joint", *given, "--output", tmp_path / "page")
    assert status == 0 and err.count("cannot be written") == 1
    page = (tmp_path / "page" / "report.html").read_text()
    assert "uniform average of 5 runs" in page and "ridge" in page
    status, out, err = run("compare", "joint", "other", *given)
    assert status == 0 and "ensemble" in out, err


@pytest.mark.parametrize("slots", [[], ["--slots", "1"]], ids=["worker", "slots"])
@pytest.mark.parametrize("kind", ["media", "standby"])
def test_a_worker_ends_where_it_cannot_write(
    run: Run,
    tmp_path: Path,
    small_data: Path,
    request: pytest.FixtureRequest,
    enter: Enter,
    kind: str,
    slots: list[str],
) -> None:
    """It says so in one line and waits for nothing: no later moment makes another database of it."""
    if kind == "standby":
        url = request.getfixturevalue("postgres_url")
        create(url, small_study())
        url += "?options=-c%20default_transaction_read_only%3Don"
    else:
        create(f"sqlite:///{tmp_path / 'made.db'}", small_study())
        url = enter(read_only(f"sqlite:///{tmp_path / 'made.db'}", tmp_path / "media"))
    status, _, err = run("work", "small", "--storage", url, "--data", small_data, *slots)
    told = [line for line in err.splitlines() if "cannot be written" in line]
    assert status == 1 and len(told) == 1 and "--storage" in told[0]


@pytest.fixture
def enter() -> Iterator[Enter]:
    """Enters contexts that end with the test."""
    with ExitStack() as stack:
        yield stack.enter_context


def test_a_standby_is_read(run: Run, postgres_url: str) -> None:
    """PostgreSQL that refuses every write, as a standby does, is read like any other."""
    make_study(open_storage(postgres_url), 12)
    standby = f"{postgres_url}?options=-c%20default_transaction_read_only%3Don"
    for command in READERS:
        status, out, err = run(*command, "--storage", standby)
        assert status == 0 and out, err
