"""The files of an analysis hold its tables, and say which sequences they are about."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from lobmodels.errors import BundleError, OutputError
from search.errors import SearchError
from search.ship.analysis import analyse_pool


def test_the_files_hold_the_analysis(url: str, small_data: Path, tmp_path: Path) -> None:
    """Every table reads back from its CSV file, the weights from their JSON file, with a note of the sequences."""
    analysis, files = analyse_pool(url, "joint", small_data, tmp_path / "out")
    assert all(path.is_file() for path in files)
    assert {path.name for path in tmp_path.joinpath("out").iterdir()} == {*(p.name for p in files), "plotly.min.js"}
    for name, table in analysis.tables().items():
        with (tmp_path / "out" / f"{name}.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == list(table.columns) and len(rows) == 1 + len(table.rows)
        assert float(rows[1][-1]) == table.rows[0][-1]
    assert json.loads((tmp_path / "out" / "optimal_weights.json").read_text()) == analysis.optimal_weights
    about = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert about["scores_on"] == "report" and about["models"] == list(analysis.names)
    assert about["sequences"] == {"all": 12, "select": 9, "report": 3}


def test_named_runs_only(url: str, small_data: Path, tmp_path: Path) -> None:
    """The runs that were named, or the best; at most as many of one configuration as asked."""
    analysis, _ = analyse_pool(url, "joint", small_data, tmp_path, members=("3", "0"))
    assert set(analysis.names) == {"joint#3", "joint#0"}
    analysis, _ = analyse_pool(url, "joint", small_data, tmp_path, per_config=1)
    assert len(analysis.names) == 3


def test_refusals(url: str, small_data: Path, tmp_path: Path) -> None:
    """One run is no pool, sequences of another name are none, too many runs, a folder that cannot be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="an analysis compares runs"):
        analyse_pool(url, "joint", small_data, tmp_path, members=("3",))
    with pytest.raises(BundleError, match="on=bogus"):
        analyse_pool(url, "joint", small_data, tmp_path, on="bogus")
    with pytest.raises(SearchError, match="has 6 runs with weights"):
        analyse_pool(url, "joint", small_data, tmp_path, top=9)
    with pytest.raises(OutputError, match="cannot be written"):
        analyse_pool(url, "joint", small_data, tmp_path / "file")
