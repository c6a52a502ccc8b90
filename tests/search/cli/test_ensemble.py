"""`ensemble`: its files, its advice, and predictions that are computed once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lobmodels.ensemble.bundle import read_submission
from tests.search.cli.calls import Run

TABLES = {"model_scores", "pairwise_correlations", "ensemble_vs_n_models", "diversity_by_target_bucket"}


def test_it_writes_all_files_and_computes_predictions_once(
    run: Run, exportable: str, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables and figures appear, the advice is printed, a second call reads the cache; its weights can be exported."""
    output, arguments = tmp_path / "analysis", ("--data", small_data, "--storage", exportable)
    status, out, _ = run("ensemble", "joint", *arguments, "--output", output)
    assert status == 0
    assert "6 runs; 9 selection and 3 report sequences" in out and "ship uniform ones" in out
    assert {path.stem for path in output.glob("*.html")} == TABLES | {"optimal_weights"}
    assert {path.stem for path in output.glob("*.csv")} == TABLES
    first = (output / "model_scores.csv").read_text().splitlines()[0]
    assert first == "model,score_t0,score_t1,score_avg"

    def refuse(*_: object) -> None:
        raise AssertionError("a prediction was computed twice")

    monkeypatch.setattr("lobmodels.checkpoint.Checkpoint.predict", refuse)
    document = json.loads(run("ensemble", "joint", *arguments, "--output", output, "--json", "--on", "select")[1])
    assert document["on"] == "select" and len(document["models"]) == 6
    weights = f"{output / 'optimal_weights.json'}#greedy"
    assert run("export", "joint", *arguments, "--weights", weights, "--output", "s.zip")[0] == 0
    greedy = document["optimal_weights"]["variants"]["greedy"]["weights"]
    for member in read_submission(tmp_path / "s.zip").manifest["members"]:
        assert member["weight"] == pytest.approx(greedy[member["name"]])


def test_a_folder_that_cannot_be_written_is_refused_first(
    run: Run, exportable: str, small_data: Path, tmp_path: Path
) -> None:
    """Before anything is predicted, in one line."""
    (tmp_path / "file").write_text("")
    arguments = ("--data", small_data, "--storage", exportable, "--output", "file/below")
    status, out, err = run("ensemble", "joint", *arguments)
    assert (status, out) == (1, "") and err.endswith("choose another --output\n")
