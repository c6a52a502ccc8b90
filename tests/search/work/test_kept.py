"""Runs kept on disk: held while their worker waits, stored by the next one in that folder once it has ended."""

import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.work.events import Event
from search.work.kept import LAST_TRIES, WRITE_AGAIN, KeptRun, LastTries, Leftovers
from search.work.stopping import Stop
from storage.backends.registry import open_storage
from tests.machines import create, small_study, trials
from tests.search.work.faults import saved_run

Stored = list[tuple[int | None, str]]


class Clock:
    """Seconds that pass only when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


Waiting = tuple[LastTries, Clock, list[str]]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """URL of a new database file."""
    return f"sqlite:///{tmp_path / 'study.db'}"


def store(url: str, folder: Path) -> Stored:
    """What a worker that starts in `folder` stores."""
    events: list[Event] = []
    Leftovers(folder, "host:2", events.append).store(open_storage(url), "small")
    return [(event.trial, event.text) for event in events]


@pytest.mark.parametrize("state", [None, TrialState.WAITING, TrialState.FAIL])
def test_a_run_is_stored_once_its_worker_has_ended(state: TrialState | None, url: str, tmp_path: Path) -> None:
    """While the worker waits, nobody else touches the file. After its end the run is stored, and the file removed:
    also where the trial was queued again or given up meanwhile."""
    study = create(url, small_study())
    kept = KeptRun.save(saved_run(study, state), tmp_path / "kept")
    assert kept.path is not None and kept.file is not None
    assert store(url, tmp_path / "kept") == []
    kept.file.close()
    number = 1 if state == TrialState.FAIL else 0
    ((stored, text),) = store(url, tmp_path / "kept")
    assert stored == number and text.startswith(f"{kept.path}, which an earlier worker had kept, stored")
    assert trials(url)[number].state == TrialState.COMPLETE
    assert not list((tmp_path / "kept").iterdir())
    assert store(url, tmp_path / "kept") == []


def test_a_run_that_is_there_already_is_not_stored_again(url: str, tmp_path: Path) -> None:
    """Another worker has completed the trial: the file is removed, and the trial stays as it is."""
    study = create(url, small_study())
    kept = KeptRun.save(saved_run(study, TrialState.COMPLETE), tmp_path)
    assert kept.file is not None
    kept.file.close()
    before = trials(url)
    ((_, text),) = store(url, tmp_path)
    assert "nothing to do" in text
    assert trials(url) == before
    assert not list(tmp_path.glob("*.run"))


def test_what_is_not_this_studys_stays(url: str, tmp_path: Path) -> None:
    """Another study's run, a run of a deleted study of this name, a file that is no run: all are left."""
    folder = tmp_path / "kept"
    other = create(url, small_study("small-2"))
    saved_run(other, TrialState.WAITING).save(folder)
    deleted = create(url, small_study())
    saved_run(deleted, TrialState.WAITING).save(folder)
    optuna.delete_study(study_name="small", storage=open_storage(url))
    create(url, small_study())
    (folder / "small-9.run").write_text("notes")
    (folder / "small-notes.partial").write_text("notes")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert store(url, folder) == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert len(before) == 4


def test_a_half_written_file_is_removed(url: str, tmp_path: Path) -> None:
    """A worker that was killed while it wrote leaves a part of a file, which nobody can use."""
    create(url, small_study())
    (tmp_path / "small-3.4711.partial").write_bytes(b"PK")
    assert store(url, tmp_path) == []
    assert not (tmp_path / "small-3.4711.partial").exists()


class Away:
    """A database that is away; `hurried` counts the calls for shorter pauses."""

    hurried = 0

    def hurry(self) -> None:
        self.hurried += 1


@pytest.fixture
def waiting(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Waiting:
    """The wait with a run that cannot be written (a file stands where its folder should be), its clock, its notes."""
    run = saved_run(create(url, small_study()), None)
    clock, notes = Clock(), list[str]()
    monkeypatch.setattr(time, "monotonic", clock)
    (tmp_path / "kept").write_text("no folder")
    kept = KeptRun.save(run, tmp_path / "kept")
    assert kept.path is None
    return LastTries(kept, Away(), Stop(), notes.append), clock, notes  # type: ignore[arg-type]


def test_a_run_in_memory_alone_gets_last_tries(waiting: Waiting) -> None:
    """A stop does not end the wait at once: for eight seconds both places are tried again."""
    wait, clock, notes = waiting
    assert not wait.due()
    wait.stop.ask("SIGTERM")
    assert not wait.due() and wait.storage.hurried == 1
    clock.now += LAST_TRIES - 0.1
    assert not wait.due()
    clock.now += 0.2
    assert wait.due() and wait.storage.hurried == 1
    assert wait.kept.path is None and not notes


@pytest.mark.parametrize("stopping", [False, True])
def test_a_run_in_memory_alone_is_written_once_there_is_room(stopping: bool, waiting: Waiting, tmp_path: Path) -> None:
    """While the worker waits, every five seconds; after a stop, each time it looks. On disk, it leaves at a stop."""
    wait, clock, notes = waiting
    if stopping:
        wait.stop.ask("SIGTERM")
    assert not wait.due()
    (tmp_path / "kept").unlink()
    assert wait.due() == stopping
    clock.now += WRITE_AGAIN
    assert wait.due() == stopping
    assert notes == [f"the finished run is kept in {tmp_path / 'kept' / 'small-0.run'}"]
    assert (tmp_path / "kept" / "small-0.run").is_file()
