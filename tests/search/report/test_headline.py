"""The first lines are the truth of the study, the same wherever they are shown."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from statistics import fmean

import numpy as np
import optuna
import pytest

from lobmodels.bootstrap import correlations
from search.report import Report
from search.report.headline import headline
from search.report.note import note_text, plain
from search.report.record import Study, read_study
from search.study.reference import Reference, Score


@pytest.fixture(scope="module")
def repeated(study: optuna.Study) -> Study:
    """Four configurations under three further seeds each."""
    return read_study(study)


def test_the_best_is_the_ranking_s_first(repeated: Study) -> None:
    """Its estimate with the ranking's interval, its report score as the mean of its runs, number of runs and words."""
    best, row = headline(repeated).rows[0], repeated.ranking.rows[0]
    assert best.label == "best" and best.select == Score(row.estimate or 0.0, row.low, row.high)
    values = [run.report["mean"] for run in row.runs]
    assert best.report is not None and best.report.value == pytest.approx(fmean(values))
    half = 1.6449 * np.std(values, ddof=1) / np.sqrt(len(values))
    assert best.report.high == pytest.approx(fmean(values) + half, rel=1e-4)
    assert best.what.startswith(f"trial {row.trial}, {row.n} runs: ")


def test_a_single_run_is_resampled(known: Study) -> None:
    """Where nothing was repeated, the interval is over sequences drawn again, from the sums that the run has kept."""
    row = known.ranking.rows[0]
    bare = headline(known).rows[0]
    assert bare.select == Score(row.best_run.value) and "too high by its luck" in bare.what
    assert f"the best of {len(known.finished)} single runs" in bare.what
    sums = np.random.default_rng(0).random((40, 6, 2)) + 1
    found = headline(replace(known, sums={row.best_run.name: {"select": sums}})).rows[0].select
    assert found is not None and found.low is not None and found.high is not None
    assert found.value == pytest.approx(correlations(sums.sum(0)).mean()) and found.low < found.value < found.high


def test_what_it_is_read_beside(repeated: Study) -> None:
    """Ensemble, best baseline and ridge, each with both scores; an ensemble that newer runs surpass says so."""
    ensemble = Reference(Score(0.29, 0.28, 0.3), Score(0.28, 0.27, 0.29), (repeated.finished[0].name,), 7)
    ridge = Reference(Score(0.2), Score(0.19))
    first = repeated.finished[0]
    trials = tuple(replace(t, baseline=1) if t.number == first.number else t for t in repeated.trials)
    rows = {r.label: r for r in headline(replace(repeated, ensemble=ensemble, ridge=ridge, trials=trials)).rows}
    assert list(rows) == ["best", "ensemble", "baseline", "ridge"]
    assert rows["ensemble"].report == ensemble.report and rows["ridge"].select == ridge.select
    assert rows["baseline"].report is not None and rows["baseline"].report.value == first.report["mean"]
    assert rows["ensemble"].what == f"uniform average of 1 run; {repeated.complete - 7} runs finished since"


@pytest.mark.parametrize(
    ("metric", "scored"), [("weighted_pearson", True), ("pearson", True), ("mse", False), ("gain of a plugin", False)]
)
def test_an_ensemble_without_a_score(repeated: Study, metric: str, scored: bool) -> None:
    """Names the command that scores it, but not where that command would leave it unscored again."""
    study = replace(repeated, ensemble=None, schema=replace(repeated.schema, metric=metric))
    (row,) = [row for row in headline(study).rows if row.label == "ensemble"]
    assert (row.select, row.report) == (None, None)
    assert ("--data DIR" in row.what) == scored and ("no correlation" in row.what) == (not scored)


def test_three_places_show_the_same(study: optuna.Study, repeated: Study, report: Report) -> None:
    """Report and note hold every cell, the budget and the step of the one headline; `status` is tested with its
    command."""
    first = headline(repeated)
    html, note = unescape(report.html), note_text(repeated)
    for text in [cell for row in first.cells() for cell in row] + [first.budget, first.step.reason]:
        assert text in html and plain(text) in note, text
    assert first.step.command in html and first.step.command in note


def test_before_the_first_run(known: Study) -> None:
    """Nothing is best, and the step is to work."""
    empty = headline(replace(known, trials=(), ranking=replace(known.ranking, rows=())))
    assert [row.what for row in empty.rows] == ["no run is complete yet"] and empty.step.command == "lobtuna work joint"
