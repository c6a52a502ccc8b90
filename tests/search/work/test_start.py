"""Where workers run: in this process on the CPU, in supervised ones with slots."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from search.errors import SearchError
from search.studyfile.spec import StudySpec
from search.work.begin import create
from search.work.options import WorkOptions
from search.work.start import start

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
    """Refused before anything is opened."""
    with pytest.raises(SearchError, match="--gpus 17"):
        start("sqlite:///none.db", "x", tmp_path, WorkOptions(), Console(), gpus="17")
