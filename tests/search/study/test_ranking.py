"""Configurations are ranked by an estimate over their runs, and each says how sure it is."""

import optuna
import pytest

from search.study.ranking import Ranking, rank_runs, to_csv, to_document, varying
from search.study.replication import (
    choose,
    pool,
    replicate,
)
from tests.search.study.made_replicates import NOISE, serve


def rank(study: optuna.Study) -> Ranking:
    return rank_runs(pool(study))


def test_before_replication_the_order_is_by_single_runs_and_says_so(study: optuna.Study) -> None:
    """Nothing tells luck from worth: no estimates, no chances."""
    ranking = rank(study)
    assert ranking.repeated == () and ranking.noise is None and sum(row.n for row in ranking.rows) == 24
    assert [row.mean for row in ranking.rows] == sorted((row.mean for row in ranking.rows), reverse=True)
    assert all(row.estimate is None for row in ranking.rows)


def test_repeated_configurations_come_first_by_estimate(study: optuna.Study) -> None:
    """Rows carry n, mean, spread, estimate, interval, chance, the luckiest run and the score on report sequences."""
    replicate(study, choose(study, top=4), seeds=5)
    serve(study)
    ranking = rank(study)
    rows = ranking.repeated
    assert all(row.n >= 5 for row in rows) and len(rows) == 4 and ranking.rows[4].estimate is None
    assert [row.estimate for row in rows] == sorted((row.estimate or 0 for row in rows), reverse=True)
    assert sum(row.probability_best or 0 for row in rows) == pytest.approx(1)
    for row in rows:
        assert row.low is not None and row.high is not None and row.estimate is not None
        assert row.low < row.estimate < row.high < row.best_run.value + 0.01
        assert row.estimate < row.mean + 0.002  # the mean holds the lucky run as it is
        assert row.report is not None and row.report[0] == pytest.approx(row.mean - 0.01)
    assert ranking.luck is not None and 0 < ranking.luck < 0.02
    assert ranking.noise == pytest.approx(NOISE, rel=0.6)


def test_a_ranking_can_be_read_by_scripts(study: optuna.Study) -> None:
    """JSON without NaN, CSV with the varying parameters as columns; both name the sequences of each score."""
    import csv
    import io
    import json

    replicate(study, choose(study, top=2), seeds=3)
    serve(study)
    ranking = rank(study)
    document = json.loads(json.dumps(to_document(ranking, "s", 0.25), allow_nan=False))
    assert document["scores_on"] == "select" and document["configurations"][0]["rank"] == 1
    first = document["configurations"][0]
    assert first["best_run"]["run"].startswith("s") and len(first["seeds"]) == first["n"] == 3
    assert document["configurations"][-1]["estimate"] is None
    lines = list(csv.DictReader(io.StringIO(to_csv(ranking))))
    assert len(lines) == len(ranking.rows) and lines[0]["select_estimate"] and not lines[-1]["select_estimate"]
    assert set(varying(ranking.rows)) == {"hidden_size", "lr"} <= set(lines[0]) and "epochs" not in lines[0]
