"""The bootstrap resamples sequences, pairs its draws, and says how sure a difference is."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from lobmodels.bootstrap import compare, correlations, score_interval, sequence_statistics
from lobmodels.errors import ScoringError
from lobmodels.metric import CODE, declare_metric, score, weighted_pearson
from lobmodels.schema import LOB
from tests.plugin_files import forgotten


def sample(n: int = 40, gain: float = 0.3, noise: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets with heavy tails (the same for one n) and predictions that see them through noise."""
    y = np.random.default_rng(1).standard_t(3, (n, 60, 2))
    return gain * y + noise * np.random.default_rng(seed).standard_normal(y.shape), y


def test_statistics_are_the_metric() -> None:
    """Summed statistics give the challenge's score, clipping included, on any multiset of sequences."""
    p, y = sample(gain=5)
    drawn = np.random.default_rng(0).integers(0, len(y), len(y))
    found = correlations(sequence_statistics(p, y)[drawn].sum(0))
    assert np.abs(p).max() > 6
    assert found == pytest.approx(weighted_pearson(p[drawn], y[drawn]), abs=1e-12)


def test_a_constant_scores_zero() -> None:
    """No variance, no correlation, and no NaN."""
    _, y = sample()
    assert correlations(sequence_statistics(np.full_like(y, 0.1), y).sum(0)).tolist() == [0, 0]


def test_same_seed_same_table() -> None:
    """The draw is seeded: repeated, it gives the same numbers; another seed gives others."""
    statistics = {name: sequence_statistics(*sample(seed=i)) for i, name in enumerate("ab")}
    assert compare(statistics, "a") == compare(statistics, "a")
    assert compare(statistics, "a") != compare(statistics, "a", seed=1)


def test_pairing_finds_a_small_difference() -> None:
    """A submission that is a little better everywhere is found better, though each score alone is uncertain."""
    p, y = sample()
    better = p + 0.02 * y
    table = compare({"champion": sequence_statistics(p, y), "new": sequence_statistics(better, y)}, "champion")
    champion, new = table.rows
    assert new.difference is not None and 0 < new.difference < champion.spread
    assert new.p_better == 1.0 and new.low is not None and new.low > 0
    assert champion.difference is None and champion.p_better is None
    assert table.safe.name == table.bold.name == "new"


def test_equals_are_even() -> None:
    """A copy is better half of the time, with a difference of nothing."""
    statistics = sequence_statistics(*sample())
    copy = compare({"a": statistics, "b": statistics.copy()}, "a").rows[1]
    assert (copy.difference, copy.low, copy.high, copy.p_better) == (0, 0, 0, 0.5)


def test_spread_is_that_of_resampling() -> None:
    """p10, p90 and spread are those of scores recomputed from the drawn predictions themselves."""
    p, y = sample(15)
    row = compare({"a": sequence_statistics(p, y)}, "a", repetitions=400).rows[0]
    rng = np.random.default_rng(9)
    scores = [weighted_pearson(p[d], y[d]).mean() for d in rng.integers(0, 15, (400, 15))]
    assert row.spread == pytest.approx(np.std(scores), rel=0.2)
    assert row.p10 == pytest.approx(np.percentile(scores, 10), abs=0.2 * row.spread)
    assert row.mean == pytest.approx(weighted_pearson(p, y).mean())


def test_safe_and_bold_may_differ() -> None:
    """Of two that score alike, the one that is even over sequences is safe, the one that rests on few is bold."""
    _, y = sample(30)
    rng = np.random.default_rng(3)
    even = 0.11 * y + rng.standard_normal(y.shape)
    uneven = rng.standard_normal(y.shape)
    uneven[::4] = 1.5 * y[::4]
    table = compare({"even": sequence_statistics(even, y), "uneven": sequence_statistics(uneven, y)}, "even")
    assert (table.safe.name, table.bold.name) == ("even", "uneven")


def test_bad_requests() -> None:
    """An absent champion, unequal numbers of sequences, and a single repetition are refused."""
    a, b = sequence_statistics(*sample(10)), sequence_statistics(*sample(12))
    with pytest.raises(ScoringError, match="champion 'c' was not scored; scored are a"):
        compare({"a": a}, "c")
    with pytest.raises(ScoringError, match="different numbers of sequences"):
        compare({"a": a, "b": b}, "a")
    with pytest.raises(ScoringError, match="at least 2"):
        compare({"a": a}, "a", repetitions=1)


def test_five_submissions_of_the_whole_set_take_seconds() -> None:
    """1,444 sequences, 5 submissions, 200 repetitions: the resampling itself costs well under the promised seconds."""
    rng = np.random.default_rng(0)
    statistics = {str(i): np.abs(rng.standard_normal((1444, 6, 2))) for i in range(5)}
    started = time.process_time()
    compare(statistics, "0")
    assert time.process_time() - started < 5


def test_an_interval_lies_around_the_score() -> None:
    """The mean of the runs in the middle; nine in ten samples of as many sequences score within it."""
    p, y = sample(n=400)
    statistics = sequence_statistics(p, y)
    score, low, high = score_interval([statistics[:60]])
    assert score == pytest.approx(correlations(statistics[:60].sum(0)).mean()) == pytest.approx((low + high) / 2)
    random = np.random.default_rng(2)
    again = [correlations(statistics[random.integers(0, 400, 60)].sum(0)).mean() for _ in range(300)]
    inside = np.mean(np.abs(np.array(again) - np.mean(again)) <= (high - low) / 2)
    assert 0.8 < inside < 0.97
    other = sequence_statistics(sample(n=400, seed=5)[0], y)[:60]
    both = score_interval([statistics[:60], other])
    assert both[0] == pytest.approx((score + correlations(other.sum(0)).mean()) / 2)


def test_a_plugins_metric_is_computed_anew_for_each_draw() -> None:
    """A metric without sums: its whole score, and a spread and chance that agree with those of the same metric by sums;
    sequences of different lengths too."""
    p, y = sample(n=60, gain=0.4)
    q = sample(n=60, gain=0.3, seed=1)[0]
    y[::3, 40:] = np.nan
    built_in = replace(LOB, metric="r2", variable_length=True, clip=None)
    with forgotten():
        declare_metric("mine")
        CODE.replace("mine", lambda p, y, w: 1 - ((p - y) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0))
        own = replace(built_in, metric="mine")
        rows = [
            compare({"a": sequence_statistics(p, y, s), "b": sequence_statistics(q, y, s)}, "a", schema=s).rows
            for s in (built_in, own)
        ]
        assert sequence_statistics(p, y, own).shape == (60, 120, 2)
        assert rows[1][0].scores == pytest.approx(score(p, y, own).tolist(), abs=1e-12)
    for summed, anew in zip(*rows, strict=True):
        for name in ("mean", "p10", "p90", "spread", "difference", "low", "high", "p_better"):
            assert getattr(anew, name) == pytest.approx(getattr(summed, name), abs=1e-9), name
