"""`studies`: what a database holds, on 80 columns and as JSON."""

from __future__ import annotations

import json

from tests.search.cli.calls import Run


def test_a_line_for_each_study(run: Run, searched: str) -> None:
    """Name, trials by state, best score, replicates; no line is wider than the terminal."""
    status, out, _ = run("studies", "--storage", searched)
    assert status == 0
    assert "complete" in out and "replicates" in out
    assert max(len(line) for line in out.splitlines()) <= 80
    (study,) = json.loads(run("studies", "--storage", searched, "--json")[1])
    assert study["trials"]["complete"] > 0 and study["ours"] is True


def test_no_database_and_no_study(run: Run) -> None:
    """The next command is named."""
    assert "there is no database" in run("studies")[2]
