"""Runs kept on disk: held while their worker waits, stored by the next one in that folder once it has ended."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.work.events import Event
from search.work.kept import KeptRun, Leftovers
from storage.backends.registry import open_storage
from tests.machines import create, small_study, trials
from tests.search.work.faults import saved_run

Stored = list[tuple[int | None, str]]


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
