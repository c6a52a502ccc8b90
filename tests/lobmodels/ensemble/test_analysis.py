"""The analysis tells who is good, who differs, and whether weights help, on sequences that it names."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from lobmodels.data import validation_split
from lobmodels.ensemble.analysis import Analysis, analyse
from lobmodels.errors import BundleError
from lobmodels.metric import weighted_pearson

N = 24


def pool(members: int = 4, seed: int = 0) -> tuple[list[str], list[np.ndarray], np.ndarray]:
    """Runs that share some noise; targets with exact zeros, as real ones have."""
    rng = np.random.default_rng(seed)
    y = rng.standard_t(3, (N, 80, 2)).astype(np.float32)
    y[:, ::4, 0] = 0.0
    common = rng.standard_normal(y.shape)
    noise = [rng.standard_normal(y.shape) for _ in range(members)]
    found = [(0.1 * y + 0.12 * common + (0.12 + 0.05 * i) * noise[i]).astype(np.float32) for i in range(members)]
    return [f"joint#{i}" for i in range(members)], found, y


def parts(fraction: float = 0.25) -> dict[str, np.ndarray]:
    select, report = validation_split(N, fraction)
    return {"select": select, "report": report}


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    """Four runs on the usual split."""
    return analyse(*pool(), parts())


def test_the_files_have_their_columns(analysis: Analysis) -> None:
    """Names that others may rely on."""
    assert analysis.model_scores.columns == ("model", "score_t0", "score_t1", "score_avg")
    assert analysis.pairwise_correlations.columns == ("model_i", "model_j", "corr_flat", "corr_t0", "corr_t1")
    assert analysis.ensemble_vs_n_models.columns[:2] == ("n_models", "model_added")
    assert analysis.diversity_by_target_bucket.columns[:2] == ("target", "bucket")
    lines = list(csv.reader(analysis.model_scores.to_csv().splitlines()))
    assert len(lines) == 5 and float(lines[1][3]) == analysis.model_scores.rows[0][3]


def test_scores_are_of_the_named_sequences(analysis: Analysis) -> None:
    """Report sequences by default, others when asked, all where none were set aside."""
    names, predictions, y = pool()
    assert analysis.on == "report" and analysis.counts == {"all": 24, "select": 18, "report": 6}
    for on, index in {**parts(), "all": np.arange(N)}.items():
        table = analyse(names, predictions, y, parts(), on).model_scores
        for name, t0, t1, mean in table.rows:
            expected = weighted_pearson(predictions[names.index(name)][index], y[index])
            assert (t0, t1, mean) == pytest.approx((*expected, expected.mean()), abs=1e-12)
    assert analyse(names, predictions, y, parts(0.0)).on == "all"
    with pytest.raises(BundleError, match="on=report: there are no such sequences"):
        analyse(names, predictions, y, parts(0.0), "report")


def test_pairs(analysis: Analysis) -> None:
    """Every pair once, with plain correlations of the predictions."""
    names, predictions, _ = pool()
    report = parts()["report"]
    assert len(analysis.pairwise_correlations.rows) == 6
    for i, j, flat, t0, t1 in analysis.pairwise_correlations.rows:
        a, b = (predictions[names.index(name)][report] for name in (i, j))
        assert flat == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-6)
        for k, value in enumerate((t0, t1)):
            assert value == pytest.approx(np.corrcoef(a[..., k].ravel(), b[..., k].ravel())[0, 1], abs=1e-6)


def test_growth(analysis: Analysis) -> None:
    """Members join by their selection score; each line is the uniform ensemble of those so far, on both parts."""
    names, predictions, y = pool()
    table = analysis.ensemble_vs_n_models
    assert table.column("model_added") == list(analysis.names)
    row = dict(zip(table.columns, table.rows[2], strict=True))
    mean = np.mean([predictions[names.index(name)] for name in analysis.names[:3]], 0)
    for part, index in parts().items():
        assert row[f"{part}_avg"] == pytest.approx(weighted_pearson(mean[index], y[index]).mean(), abs=1e-6)
    assert row["select_random_avg"] < row["select_avg"]
    last = dict(zip(table.columns, table.rows[-1], strict=True))
    assert last["report_random_avg"] == pytest.approx(last["report_avg"])


def test_buckets(analysis: Analysis) -> None:
    """Zeros have a bucket of their own; buckets hold every row once, and all the weight."""
    table = analysis.diversity_by_target_bucket
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    for target in ("t0", "t1"):
        mine = [row for row in rows if row["target"] == target]
        assert sum(row["rows"] for row in mine) == 6 * 80
        assert sum(row["weight_share"] for row in mine) == pytest.approx(1)
        assert all(0 < row["gain"] < 1 and -1 <= row["mean_correlation"] <= 1 for row in mine)
    assert rows[0]["bucket"] == "zero" and rows[0]["rows"] == 6 * 20


def test_weights_stand_beside_uniform(analysis: Analysis) -> None:
    """Every variant has both scores; what is recommended has beaten uniform weights on report sequences, clearly."""
    document = analysis.optimal_weights
    assert set(document["variants"]) == {"uniform", "optimised", "shrunk", "greedy"}
    for name, entry in document["variants"].items():
        assert set(entry["weights"]) == {"joint#0", "joint#1", "joint#2", "joint#3"}
        assert np.sum(list(entry["weights"].values()), 0) == pytest.approx([1, 1])
        assert {"t0", "t1", "avg"} == set(entry["select"]) == set(entry["report"])
        assert (name == "uniform") == ("better_in" not in entry)
    best = document["recommended"]
    assert best == "uniform" or document["variants"][best]["better_in"] >= 0.9


def test_equal_runs_are_not_weighed() -> None:
    """Where no member is better than another, uniform weights are recommended."""
    rng = np.random.default_rng(5)
    _, _, y = pool()
    alike = [(0.3 * y + rng.standard_normal(y.shape)).astype(np.float32) for _ in range(6)]
    assert analyse([str(i) for i in range(6)], alike, y, parts()).optimal_weights["recommended"] == "uniform"


def test_a_dead_run_is_survived() -> None:
    """A run that predicts a constant scores 0, correlates with nothing, and gets no fitted weight."""
    names, predictions, y = pool(3)
    found = analyse([*names, "dead"], [*predictions, np.zeros_like(y)], y, parts())
    assert found.model_scores.rows[-1] == ("dead", 0.0, 0.0, 0.0)
    assert found.optimal_weights["variants"]["optimised"]["weights"]["dead"] == [0.0, 0.0]


def test_one_run_is_no_pool() -> None:
    """There is nothing to compare."""
    names, predictions, y = pool(1)
    with pytest.raises(BundleError, match="compares runs, and there is 1"):
        analyse(names, predictions, y, parts())


def test_json_is_plain(analysis: Analysis) -> None:
    """The weights can be written as JSON that any reader takes."""
    assert json.loads(json.dumps(analysis.optimal_weights, allow_nan=False)) == analysis.optimal_weights


def test_few_sequences_recommend_nothing() -> None:
    """However clearly weights win on a handful of sequences, uniform ones are recommended; on more, cautious ones."""
    rng = np.random.default_rng(1)
    y = rng.standard_t(3, (120, 40, 2)).astype(np.float32)
    good = (0.5 * y + 0.2 * rng.standard_normal(y.shape)).astype(np.float32)
    bad = [rng.standard_normal(y.shape).astype(np.float32) for _ in range(3)]
    names = [f"joint#{i}" for i in range(4)]
    for n, recommended in ((24, "uniform"), (120, "shrunk")):
        select, report = validation_split(n, 0.25)
        runs = [p[:n] for p in (good, *bad)]
        found = analyse(names, runs, y[:n], {"select": select, "report": report}).optimal_weights
        assert min(found["variants"][how]["better_in"] for how in ("optimised", "greedy")) > 0.95
        assert found["recommended"] == recommended
