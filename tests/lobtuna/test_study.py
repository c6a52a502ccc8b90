"""A study's runs, its best and its figures."""

from __future__ import annotations

from pathlib import Path

import pytest

import lobtuna
from search.errors import SearchError
from tests.lobmodels.own_data import FIXED, write_data


def test_runs_are_a_sequence_and_a_table(study: lobtuna.Study) -> None:
    """Best first, replicates among them unless they are left out; parameters are columns, empty where inactive."""
    runs = study.runs()
    assert [run.score for run in runs] == sorted((run.score for run in runs), reverse=True)
    assert len(runs) == 6 and len(study.runs(replicates=False)) == 5 and len(runs[:2]) == 2
    records = runs.arrow().to_pylist()
    assert records[0]["run"] == runs[0].name and records[0]["score"] == runs[0].score
    assert {record["architecture"] for record in records} == {"gru", "gru_attention"}
    assert all((r["attention_window"] is None) == (r["architecture"] == "gru") for r in records)
    assert len(set(runs.arrow().column_names)) == len(runs.arrow().column_names)
    assert runs.pandas().shape == (6, len(runs.arrow().column_names))


def test_columns_are_named_by_the_targets_of_the_data(tmp_path: Path) -> None:
    """Also before a run is complete, when only the study's schema knows them."""
    data = write_data(tmp_path / "data", FIXED)
    small = {"name": "own", "parameters": {"batch_size": 4}, "budget": {"trials": 1}}
    runs = lobtuna.create(small, f"sqlite:///{tmp_path}/own.db", data=data).study.runs()
    assert not runs
    scores = [name for name in runs.table().columns if name.startswith("select_")]
    assert scores == ["select_near", "select_middle", "select_far", "select_mean"]


def test_best_and_run(study: lobtuna.Study) -> None:
    """The highest score, a number of them, a run by trial or by name; an unknown one is answered with the known."""
    assert study.best().score == max(run.score for run in study.runs())
    assert [run.name for run in study.best(2)] == [run.name for run in study.runs()[:2]]
    assert study.run(1).name == "joint#1" and study.run("joint.seeds#0").stored.parent == 0
    with pytest.raises(SearchError, match="no complete run joint#77; there are joint"):
        study.run(77)
    assert "lr" in study.best()._repr_html_()


def test_figures_are_plotly_figures(searched: str) -> None:
    """Progress and curves of a study, with as many dots as it has complete runs."""
    study = lobtuna.open(searched)["joint"]
    figure = study.plot_progress()
    complete = next(trace for trace in figure.data if trace.name == "complete")
    assert len(complete.x) <= len(study.runs(replicates=False)) and figure.layout.yaxis.title.text == "score"
    assert {trace.name for trace in study.plot_curves().data} >= {"finished", "pruned"}


def test_it_shows_every_trial(searched: str) -> None:
    """The table has one line a trial in any state, and the status is typed."""
    study = lobtuna.open(searched)["joint"]
    assert len(study.table()) == 40 and sum(study.status().trials.values()) == 40
    assert study.spec.question in repr(study)
