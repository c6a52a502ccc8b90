"""The page of a comparison shows every entry, its figures what was measured."""

from __future__ import annotations

from dataclasses import replace

import plotly.graph_objects as go
import pytest
from optuna.storages import InMemoryStorage

from lobmodels.bootstrap import Difference
from search.report.compare import Comparison, Path, compare
from search.report.comparison import page, sections, told
from search.report.page import render
from search.studyfile.spec import StudySpec
from tests.made_study import SPEC, make_study

GAP = Difference(0.0012, -0.001, 0.0034, 0.84)


@pytest.fixture(scope="module")
def compared() -> Comparison:
    """Two studies; the second's best configuration has a difference."""
    storage = InMemoryStorage()
    spec = StudySpec.from_json(SPEC.to_json() | {"name": "wide"})
    found = compare([make_study(storage, 60), make_study(storage, 40, seed=3, spec=spec)])
    entries = [replace(e, difference=GAP) if (e.measure, e.study) == ("best", "wide") else e for e in found.entries]
    return replace(found, entries=tuple(entries))


def test_a_difference_in_words() -> None:
    """Sign, interval, share of resamples."""
    assert told(GAP) == "+0.0012 (-0.0010..+0.0034), better in 84\u00a0% of resamples"


def test_every_entry_is_on_the_page(compared: Comparison) -> None:
    """In one of two tables, and all of them in the file; the finding is the difference."""
    sides, spending = sections(compared)
    assert len(sides.tables[0].rows) + len(spending.tables[0].rows) == len(compared.entries)
    assert sides.finding == f"The best configuration of wide scores {told(GAP)} against joint."
    html = render(page(compared))
    assert "joint against wide" in html and told(GAP) in html


def test_the_figures_are_the_measures(compared: Comparison) -> None:
    """The difference with its ends; the best so far ends at its best after all that was spent."""
    sides, spending = sections(compared)
    (dots,) = sides.figures[0].spec["data"]
    assert dots["x"] == [GAP.value] and dots["error_x"]["array"] == [pytest.approx(GAP.high - GAP.value)]
    for figure, unit in zip(spending.figures, ("hours", "epochs"), strict=True):
        go.Figure(figure.spec)
        lines = [trace for trace in figure.spec["data"] if trace["name"]]
        for study, trace in zip(compared.studies, lines, strict=True):
            assert trace["y"] == sorted(trace["y"])
            assert trace["y"][-1] == pytest.approx(study.best.value, rel=1e-5)  # type: ignore[union-attr]
            assert trace["x"][-1] == pytest.approx(float(Path(study).spent(unit)[-1]))
