"""`rank`: estimates beside luck, on any width of terminal, and why there is no ranking."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from lobmodels.schema import LOB
from search.study.record import SCHEMA
from storage.backends.registry import open_storage
from tests.made_study import make_study
from tests.search.cli.calls import Run


def test_rank_shows_luck_beside_the_estimate(run: Run, searched: str, tmp_path: Path) -> None:
    """Repeated configurations first; which sequences the scores are on is said; nothing is cut at 80 columns."""
    status, out, err = run("rank", "joint", "--storage", searched, "--limit", "6", "--csv", "ranking.csv")
    assert status == 0 and err == ""
    lines = out.splitlines()
    assert lines[0] == "joint: mean weighted Pearson on the selection sequences (75% of the validation sequences)"
    assert lines[1].split() == ["trial", "n", "estimate", "90", "%", "P(best)", "mean", "sd", "best", "run", "report"]
    assert max(map(len, lines[1:8])) <= 80 and "…" not in out
    assert lines[5].split()[2] == "4" and lines[6].split()[2:6] == ["1", "-", "-", "-"]
    assert "luckiest run: joint" in out and "report: mean on the 25% that no selection has seen" in out
    with (tmp_path / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    document = json.loads(run("rank", "joint.seeds", "--storage", searched, "--json")[1])
    assert document["scores_on"] == "select" and len(document["configurations"]) == len(rows) > 6
    assert float(rows[0]["select_estimate"]) == document["configurations"][0]["estimate"]
    status, _, err = run("rank", "joint", "--storage", searched, "--csv", "no/such/folder.csv")
    assert status == 1 and "cannot write no/such/folder.csv" in err


def test_narrow_terminals_lose_columns_not_digits(run: Run, searched: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is left out whole; in a pipe nothing is."""
    for width in (40, 60, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        out = run("rank", "joint", "--storage", searched)[1]
        table = out.splitlines()[1:6]
        assert all(len(line) <= width for line in table) and "…" not in out
        assert "estimate" in table[0]
    monkeypatch.delenv("COLUMNS")
    table = run("rank", "joint", "--storage", searched)[1].splitlines()
    assert "best run" in table[1] and "…" not in "".join(table)


def test_nothing_but_failures_says_why(run: Run, tmp_path: Path) -> None:
    """Where every trial failed, the reason is told instead of the advice to go on."""
    study = make_study(open_storage("sqlite:///lobtuna.db"), 3, failures=1.0)
    status, _, err = run("rank", study.study_name)
    assert status == 1 and "has no complete run, 3 failed, the last because:" in err and "--revise" in err
    for command in ("replicate", "export"):
        assert "3 failed, the last because:" in run(command, study.study_name)[2]


def test_what_differs_is_shown_whole(run: Run, searched: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every parameter in which the rows differ, lr included: wrapped at 60 columns, in one line in a pipe."""
    monkeypatch.delenv("COLUMNS", raising=False)
    whole = run("rank", "joint", "--storage", searched)[1]
    line = next(line for line in whole.splitlines() if line.startswith("  1  "))
    assert " lr=" in line and "more" not in line and len(line) > 60
    monkeypatch.setenv("COLUMNS", "60")
    folded = run("rank", "joint", "--storage", searched)[1]
    assert max(map(len, folded.splitlines()[1:])) <= 60
    assert " ".join(line.split()) in " ".join(folded.split())


def test_columns_are_chosen(run: Run, searched: str) -> None:
    """Statistics and parameters by name, in the order given; an unknown one is refused with those that there are."""
    out = run("rank", "joint", "--storage", searched, "--columns", "lr,estimate,report", "--limit", "2")[1].splitlines()
    assert out[1].split() == ["lr", "estimate", "report"] and len(out[2].split()) == 4
    assert not any(line.startswith("  1  hidden") for line in out)
    status, _, err = run("rank", "joint", "--storage", searched, "--columns", "lrr")
    assert status == 1 and "no such column or parameter; there are trial, n, estimate" in err


def test_a_metric_without_sums_is_told(run: Run) -> None:
    """Where scores cannot be drawn again by sequence, the ranking says of which sequences it speaks, and why."""
    study = make_study(open_storage("sqlite:///lobtuna.db"), 8, replicates=(2, 2))
    study.set_user_attr(SCHEMA, replace(LOB, metric="r2").document())
    status, out, _ = run("rank", study.study_name)
    said = "about these sequences alone: scores of the metric r2 cannot be drawn again by sequence"
    assert status == 0 and said in " ".join(out.split())
