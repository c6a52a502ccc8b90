"""Scores along a shifted feature: the fifths of the checkpoints, the worst and the best named where runs agree."""

from __future__ import annotations

import pytest

from search.report.shift import Bucket, section


def buckets(feature: str, ks: float, means: list[tuple[float, ...]]) -> list[Bucket]:
    """Five buckets of a feature with each run's scores."""
    return [Bucket(feature, ks, i, float(i), i + 1.0, 100, (3, 7), scores) for i, scores in enumerate(means)]


CLEAR = [(0.30, 0.32), (0.25, 0.26), (0.25, 0.26), (0.24, 0.26), (0.10, 0.12)]
CROSSED = [(0.30, 0.20), (0.25, 0.26), (0.25, 0.26), (0.24, 0.26), (0.20, 0.31)]


def test_the_most_shifted_feature_leads() -> None:
    """Its worst and best fifth are named with the mean scores of the runs; every bucket is a row of the table."""
    found = section([*buckets("v3", 0.1, CROSSED), *buckets("p0", 0.4, CLEAR)], [])
    assert found.finding.startswith("Along p0, the most shifted feature")
    assert "0.1100 (fifth 5) and 0.3100 (fifth 1)" in found.finding
    assert [figure.title for figure in found.figures] == ["p0", "v3"]
    (table,) = found.tables
    assert len(table.rows) == 10
    assert table.column("mean_score")[-1] == pytest.approx(0.11) and table.column("lowest")[-1] == 0.10


def test_runs_that_disagree_name_nothing() -> None:
    """Where one run's worst fifth is another's best, there is no finding."""
    assert section(buckets("p0", 0.4, CROSSED), []).finding == ""


def test_checkpoints_that_cannot_be_read() -> None:
    """Their number is said; where none can, the first reason is."""
    assert "1 checkpoint could not be read" in section(buckets("p0", 0.4, CLEAR), ["trial 3: gone"]).text
    assert section([], ["trial 3: gone"]).text == "None could be read: trial 3: gone"
    assert "No finished run has a checkpoint" in section([], []).text
