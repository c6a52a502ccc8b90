"""The page on submissions: its commands run in the order shown, and its tables name what is written."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import pytest

from lobmodels.data import load_sequences
from lobmodels.data.synthetic import write_dataset
from lobmodels.ensemble.bundle import FILES
from lobmodels.scoring import submission as scoring
from search.cli import main
from tests.docs.pages import PAGES, blocks, commands
from tests.search.trained_pool import add_replicate, add_runs, make_study

PAGE = PAGES["submission.md"]
COMMANDS = [line for block in blocks("submission.md") for line in commands(block)]


def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command ends well on a study of two families; submissions run without numba here, to save its start-up."""
    job = scoring.host_job
    monkeypatch.setattr(scoring, "host_job", lambda *a: job(*a) | {"absent": ["numba"]})
    monkeypatch.setattr("lobmodels.scoring.verify.BACKENDS", {"numpy": ("numba",)})
    assert len(COMMANDS) == 13
    data = tmp_path / "lob"
    write_dataset(data, train=1, valid=6, seed=3)
    valid = load_sequences(data / "valid.parquet")
    with contextlib.chdir(tmp_path):
        study = make_study("sqlite:///lobtuna.db", valid)
        add_runs(study, valid, (0.20, 0.26, 0.24, 0.25, 0.22))
        add_replicate(study, valid, 0.27, 1_000_000)
        for command in COMMANDS:
            name, *arguments = shlex.split(command.replace("~/lob", str(data)))
            with pytest.raises(SystemExit) as stop:
                main(arguments)
            assert name == "lobtuna" and not stop.value.code, command
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    for file in re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE):
        assert file in FILES or f"analysis/{file}" in written
    assert {"candidate-candidates.json", "candidate-shrunk.zip", "with-graph.onnx", "table.csv"} <= written
