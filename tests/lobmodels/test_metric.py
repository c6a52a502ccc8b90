"""The score is the challenge's."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lobmodels.errors import ConfigError, PluginError
from lobmodels.metric import CODE, metric_of, score, weighted_pearson
from lobmodels.schema import LOB, Schema
from tests.plugin_files import blocks_of_files, forgotten


def by_the_rules(prediction: np.ndarray, target: np.ndarray) -> float:
    """The challenge's definition for one target, written down row by row in plain Python floats."""
    rows = [
        (min(6.0, max(-6.0, float(p))), float(y), max(abs(float(y)), 1e-8))
        for p, y in zip(prediction, target, strict=True)
    ]
    total = sum(w for _, _, w in rows)
    mean_p = sum(w * p for p, _, w in rows) / total
    mean_y = sum(w * y for _, y, w in rows) / total
    covariance = sum(w * (p - mean_p) * (y - mean_y) for p, y, w in rows) / total
    variance_p = sum(w * (p - mean_p) ** 2 for p, _, w in rows) / total
    variance_y = sum(w * (y - mean_y) ** 2 for _, y, w in rows) / total
    return covariance / (variance_p * variance_y) ** 0.5 if variance_p > 0 and variance_y > 0 else 0.0


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.floats(0.1, 20), st.integers(0, 2**32 - 1))
def test_equals_the_definition(rows: int, scale: float, seed: int) -> None:
    """Equal to the challenge's definition to 1e-12, clipping and heavy tails included."""
    rng = np.random.default_rng(seed)
    y = (rng.standard_t(2, (rows, 2)) * scale).astype(np.float32)
    p = (0.3 * y + rng.normal(0, scale, (rows, 2))).astype(np.float32)
    expected = [by_the_rules(p[:, k], y[:, k]) for k in range(2)]
    assert weighted_pearson(p, y) == pytest.approx(expected, abs=1e-12)


def test_constant_scores_zero() -> None:
    """A prediction or a target that never varies scores 0, never NaN."""
    y = np.random.default_rng(0).normal(size=(500, 2))
    for p, t in ((np.full_like(y, 0.3), y), (y, np.full_like(y, -2.0)), (np.zeros_like(y), np.zeros_like(y))):
        assert (weighted_pearson(p, t) == 0).all()


@pytest.fixture
def gain() -> Iterator[Schema]:
    """The page's metric, and a schema that names it."""
    with forgotten():
        exec(blocks_of_files()["gain.py"], {})
        yield replace(LOB, metric="gain", clip=1.0)


def test_a_plugins_metric_gets_all_rows(gain: Schema) -> None:
    """Clipped, without what lies behind the end of a sequence, with the challenge's weights."""
    seen: list[tuple[np.ndarray, ...]] = []

    def recorded(*rows: np.ndarray) -> list[float]:
        seen.append(rows)
        return [0.25, 0.5]

    CODE.replace("gain", recorded)
    random = np.random.default_rng(0)
    p, y = 2 * random.standard_normal((3, 5, 2)), random.standard_normal((3, 5, 2)).astype(np.float32)
    y[1, 3:] = np.nan
    y[0, 0] = 0.0
    assert score(p, y, replace(gain, variable_length=True)).tolist() == [0.25, 0.5]
    ((p_seen, y_seen, w_seen),) = seen
    there = ~np.isnan(y[..., 0])
    assert np.array_equal(p_seen, np.clip(p, -1, 1)[there]) and np.array_equal(y_seen, y[there])
    assert np.array_equal(w_seen, np.maximum(np.abs(y_seen), 1e-8)) and w_seen.dtype == np.float64


def test_a_metric_that_is_not_there(gain: Schema) -> None:
    """Its code was not run, nobody declared it, it gives another shape: one line each."""
    rows = np.ones((4, 2))
    CODE.replace("gain", lambda p, y, w: np.nanmean(p, 0))
    broken = np.array([[1.0, np.nan], [1.0, 1.0]])
    assert np.array_equal(score(broken, rows[:2], gain), [1.0, np.nan], equal_nan=True)  # no metric hides a NaN
    CODE.replace("gain", lambda p, y, w: p)
    with pytest.raises(PluginError, match=r"metric 'gain' returned shape \(4, 2\), not \(2,\): one number a target"):
        score(rows, rows, gain)
    del CODE._entries["gain"]
    assert metric_of(gain).title == "gain"  # its declaration is enough to name it
    with pytest.raises(ConfigError, match="gain is a metric of a plugin whose source was not run here"):
        score(rows, rows, gain)
    with pytest.raises(
        ConfigError, match="the data is scored by the metric 'loss', which neither lobtuna nor a plugin"
    ):
        metric_of(replace(gain, metric="loss"))
