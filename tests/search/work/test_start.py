"""Where workers run: in this process on the CPU, in supervised ones with slots."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from search.errors import SearchError, StudyNotFoundError
from search.study.halt import StopRequest, request_stop
from search.study.open import open_study
from search.studyfile.spec import StudySpec
from search.work.begin import create
from search.work.options import WorkOptions
from search.work.start import start
from search.work.supervisor import Slot

SMALL = {
    "name": "starts",
    "parameters": {"hidden_size": 4, "num_layers": 1, "batch_size": 12, "epochs": 1},
    "pruner": {"name": "none"},
    "budget": {"trials": 1},
}


def test_without_slots_it_works_here(tmp_path: Path, small_data: Path) -> None:
    """The trial is run by this process, and its lines go to the console."""
    url, console = f"sqlite:///{tmp_path}/s.db", Console(file=io.StringIO(), width=200)
    create(StudySpec.from_json(SMALL), url)
    done = start(url, "starts", small_data, WorkOptions(device="cpu", keep_folder=tmp_path), console)
    assert done.outcomes == {"complete": 1} and "starts #0  complete" in console.file.getvalue()  # type: ignore[attr-defined]


def test_gpus_that_are_not_there(tmp_path: Path) -> None:
    """Refused before any data is read."""
    url = f"sqlite:///{tmp_path}/s.db"
    create(StudySpec.from_json(SMALL), url)
    with pytest.raises(SearchError, match="--gpus 17"):
        start(url, "starts", tmp_path / "none", WorkOptions(), Console(), gpus="17")


@pytest.mark.parametrize("slots", [None, 2])
def test_a_study_that_is_not_there_is_told_once(slots: int | None, tmp_path: Path) -> None:
    """Before any slot is started, with the names that are there."""
    url = f"sqlite:///{tmp_path}/s.db"
    create(StudySpec.from_json(SMALL), url)
    with pytest.raises(StudyNotFoundError, match="did you mean starts"):
        start(url, "start", tmp_path, WorkOptions(), Console(), slots=slots)


def test_a_stop_counts_from_the_first_moment(tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for while torch is still imported, which takes seconds, it ends the work before a trial; an older one does
    not concern it."""
    url, console = f"sqlite:///{tmp_path}/s.db", Console(file=io.StringIO(), width=200)
    create(StudySpec.from_json(SMALL), url)
    request_stop(open_study(url, "starts"), StopRequest("host"))

    def meanwhile(*_: object) -> list[Slot]:
        request_stop(open_study(url, "starts"), StopRequest("elsewhere"))
        return []

    with monkeypatch.context() as patch:
        patch.setattr("search.work.start.single", meanwhile)
        done = start(url, "starts", small_data, WorkOptions(device="cpu", keep_folder=tmp_path), console)
    assert (done.outcomes, done.stopped) == ({}, "lobtuna stop on elsewhere")
    done = start(url, "starts", small_data, WorkOptions(device="cpu", keep_folder=tmp_path), console)
    assert done.outcomes == {"complete": 1}


def test_the_first_look_waits_for_no_torch() -> None:
    """What looks whether there was a stop imports none: it would come seconds later."""
    code = "import sys, search.work.start; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
