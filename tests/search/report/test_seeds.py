"""What is said of seeds is the truth the study was made with, and nothing is said before runs are repeated."""

from __future__ import annotations

import optuna
import pytest

from search.report.record import Study, read_study
from search.report.seeds import ranking_figure, section
from tests.made_study import NOISE


@pytest.fixture(scope="module")
def repeated(study: optuna.Study) -> Study:
    """Four configurations under three further seeds each."""
    return read_study(study)


def test_the_noise_is_found(repeated: Study) -> None:
    """The standard deviation under the seed is that of the made scores, and stands in the text."""
    noise = repeated.ranking.noise
    assert noise == pytest.approx(NOISE, rel=0.6)
    assert f"One run varies by {noise:.4f}" in section(repeated).text


def test_tables_hold_every_run(repeated: Study) -> None:
    """A row for each repeated configuration, best estimate first; a row for each of its runs."""
    found = {table.name: table for table in section(repeated).tables}
    assert len(found["ranking"].rows) == 4
    assert sum(len(row.runs) for row in repeated.ranking.repeated) == len(found["replicates"].rows) == 16


def test_the_figure_shows_every_run(repeated: Study) -> None:
    """Replicates and the search's own runs apart, at their values."""
    rows = repeated.ranking.repeated
    traces = {trace.get("name"): trace for trace in ranking_figure(rows)["data"]}
    values = sorted(run.value for row in rows for run in row.runs)
    drawn = sorted([*traces["replicates"]["x"], *traces["the search's run"]["x"]])
    assert drawn == pytest.approx(values, rel=1e-5)
    assert len(traces["replicates"]["x"]) == 12


def test_without_replicates(known: Study) -> None:
    """The order of single runs may be luck, and the next command is named."""
    found = section(known)
    assert "No configuration was repeated" in found.text and "lobtuna replicate joint" in found.text
    assert not found.figures and "mostly luck" in found.finding
