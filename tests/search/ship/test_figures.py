"""The figures of an analysis show its tables, need no network, and name their sequences."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from lobmodels.ensemble.analysis import Analysis, analyse
from search.ship.figures import write_plots


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    """Four runs on 24 sequences of noise with a signal; 18 chose them, 6 report."""
    rng = np.random.default_rng(0)
    y = rng.standard_t(3, (24, 40, 2)).astype(np.float32)
    runs = [(0.3 * y + rng.standard_normal(y.shape)).astype(np.float32) for _ in range(4)]
    parts = {"select": np.arange(18), "report": np.arange(18, 24)}
    return analyse([f"joint#{i}" for i in range(4)], runs, y, parts)


@pytest.fixture(scope="module")
def pages(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each page by name."""
    folder = tmp_path_factory.mktemp("figures")
    written = write_plots(analysis, folder)
    assert (folder / "plotly.min.js").stat().st_size > 1e6
    assert write_plots(analysis, folder) == written
    return {path.stem: path.read_text() for path in written}


def drawn(page: str) -> list[dict]:
    """Traces of the plotly document in a page."""
    found = re.search(r'Plotly\.newPlot\(\s*"[^"]*",\s*(\[.*?\]),\s*\{"', page, re.S)
    assert found is not None
    return json.loads(found.group(1))


def test_a_page_for_each_table(analysis: Analysis, pages: dict[str, str]) -> None:
    """With the library beside it, so that it opens without a network."""
    assert list(pages) == [*analysis.tables(), "optimal_weights"]
    for page in pages.values():
        assert "https://cdn" not in page and 'src="plotly.min.js"' in page
    assert "6 report sequences, which no run was chosen by" in pages["model_scores"]


def test_scores_are_the_tables(analysis: Analysis, pages: dict[str, str]) -> None:
    """One trace for each target and the mean, with the table's values."""
    traces = drawn(pages["model_scores"])
    assert [trace["name"] for trace in traces] == ["t0", "t1", "avg"]
    for trace in traces:
        assert trace["x"] == pytest.approx(analysis.model_scores.column(f"score_{trace['name']}"))


def test_growth_and_weights_are_the_tables(analysis: Analysis, pages: dict[str, str]) -> None:
    """The curves over the number of members, and each way's mean weight."""
    curves = {trace["name"]: trace["y"] for trace in drawn(pages["ensemble_vs_n_models"])}
    assert curves["report: the n best"] == pytest.approx(analysis.ensemble_vs_n_models.column("report_avg"))
    bars = {trace["name"].split(" ")[0]: trace["y"] for trace in drawn(pages["optimal_weights"])}
    assert bars["uniform"] == pytest.approx([0.25] * 4) and set(bars) == set(analysis.optimal_weights["variants"])


def test_the_matrix_is_symmetric(analysis: Analysis, pages: dict[str, str]) -> None:
    """Each pair stands on both sides of a diagonal of ones."""
    matrix = np.array(drawn(pages["pairwise_correlations"])[0]["z"])
    np.testing.assert_array_equal(matrix, matrix.T)
    assert (matrix.diagonal() == 1).all()
    first = analysis.pairwise_correlations.records()[0]
    i, j = (list(analysis.names).index(first[name]) for name in ("model_i", "model_j"))
    assert matrix[i, j] == pytest.approx(first["corr_flat"], abs=1e-4)
