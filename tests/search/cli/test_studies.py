"""`studies`: what a database holds, on 80 columns and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import optuna

from search.study.replication import open_replicates
from tests.machines import create, small_study
from tests.search.cli.calls import Run


def test_a_line_for_each_study(run: Run, searched: str) -> None:
    """Name, trials by state, best score, replicates; no line is wider than the terminal."""
    status, out, _ = run("studies", "--storage", searched)
    assert status == 0
    assert "complete" in out and "replicates" in out
    assert max(len(line) for line in out.splitlines()) <= 80
    (study,) = json.loads(run("studies", "--storage", searched, "--json")[1])
    assert study["trials"]["complete"] > 0 and study["ours"] is True


def test_replicates_of_a_study_that_is_gone(run: Run, tmp_path: Path) -> None:
    """Plain Optuna has deleted the study alone: what is left is told, and can be deleted by its name."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = create(url, small_study())
    open_replicates(study)
    optuna.delete_study(study_name="small", storage=study._storage)
    _, out, _ = run("studies", "--storage", url)
    assert "small.seeds" in out and "replicates of a study that is gone" in " ".join(out.split())
    assert run("delete", "small.seeds", "--yes", "--storage", url)[0] == 0
    assert "no study yet" in run("studies", "--storage", url)[1]


def test_no_database_and_no_study(run: Run) -> None:
    """The next command is named."""
    assert "there is no database" in run("studies")[2]
