"""`compare`: in the terminal, as CSV, as JSON, as a page; and `report --against`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from search.studyfile.spec import StudySpec
from storage.backends.registry import open_storage
from tests.made_study import SPEC, make_study
from tests.search.cli.calls import Run


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database of the studies `joint` and `wide`."""
    url = f"sqlite:///{tmp_path_factory.mktemp('two')}/studies.db"
    storage = open_storage(url)
    make_study(storage, 40, replicates=(3, 2))
    make_study(storage, 30, seed=3, spec=StudySpec.from_json(SPEC.to_json() | {"name": "wide"}))
    return url


def test_terminal_csv_json_page(run: Run, two: str, tmp_path: Path) -> None:
    """The same entries in each; 80 columns hold every line."""
    status, out, err = run("compare", "joint", "wide", "--storage", two, "--csv", "c.csv", "--out", "page")
    assert status == 0 and "page/compare.html" in err
    assert max(map(len, out.splitlines())) <= 80 and out.splitlines()[0] == "best"
    with (tmp_path / "c.csv").open() as file:
        rows = list(csv.DictReader(file))
    document = json.loads(run("compare", "joint", "wide", "--storage", two, "--json")[1])
    assert document["against"] == "joint" and len(document["entries"]) == len(rows) == 16
    assert f"{float(rows[0]['select']):.4f}" in out
    assert (tmp_path / "page" / "comparison.csv").is_file() and (tmp_path / "page" / "compare.html").is_file()


def test_report_against(run: Run, two: str, tmp_path: Path) -> None:
    """The report has the comparison as sections of its own, and its table beside it."""
    assert run("report", "joint", "--against", "wide", "--storage", two, "-o", "r")[0] == 0
    assert '<section id="spending">' in (tmp_path / "r" / "report.html").read_text()
    assert (tmp_path / "r" / "comparison.csv").is_file()


def test_refusals(run: Run, two: str) -> None:
    """One study, an unknown one."""
    for names, piece in ((("joint",), "two or more different studies"), (("joint", "wode"), "did you mean wide?")):
        status, out, err = run("compare", *names, "--storage", two)
        assert (status, out) == (1, "") and piece in err
