"""The figures of a profile show the profile's numbers."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest

from lobmodels.data import Dataset
from lobmodels.profile import Profile, profile_dataset
from search.profile import figures


@pytest.fixture(scope="module")
def profile(small_dataset: Dataset) -> Profile:
    """Profile of the small set."""
    return profile_dataset(small_dataset)


def named(spec: dict) -> dict[str, dict]:
    """Traces by name, of a document that plotly accepts."""
    go.Figure(spec)
    return {trace["name"]: trace for trace in spec["data"]}


def test_scale_and_shift(profile: Profile) -> None:
    """Means with their deviations, KS distances beside what chance shows."""
    columns = profile.columns[:5]
    scale = named(figures.scale(columns))
    np.testing.assert_allclose(scale["valid"]["x"], [c.valid[0] for c in columns])
    np.testing.assert_allclose(scale["train"]["error_x"]["array"], [c.train[1] for c in columns])
    shift = named(figures.shift(columns))
    np.testing.assert_allclose(shift["train to valid"]["x"], [c.ks for c in columns])
    np.testing.assert_allclose(shift["within train, by chance"]["x"], [c.ks_chance for c in columns])


def test_targets(profile: Profile) -> None:
    """Autocorrelation and concentration of the target that is named, each file in its own line."""
    lines = named(figures.autocorrelation(profile, 1))
    np.testing.assert_allclose(lines["valid"]["y"], profile.valid_targets.autocorrelation[:, 1], rtol=1e-5)
    np.testing.assert_allclose(
        lines["train, of |target|"]["y"], profile.train_targets.size_autocorrelation[:, 1], rtol=1e-5
    )
    heavy = named(figures.concentration(profile, 0))["train, rows"]
    np.testing.assert_allclose(heavy["y"], 100 * profile.train_targets.top_share[:, 0], rtol=1e-5)
    lifts = named(figures.large_moves(profile))
    np.testing.assert_allclose(lifts["t1, train"]["y"], profile.train_targets.large_lift[1:, 1], rtol=1e-5)
    across = named(figures.cross_correlation(profile))["train"]
    np.testing.assert_allclose(across["y"], profile.train_targets.cross_correlation, rtol=1e-5, atol=1e-9)


def test_models(profile: Profile) -> None:
    """Correlations, ridge scores and drops are the tables'."""
    dots = named(figures.correlations(profile.columns[:4], 1, "t1"))
    np.testing.assert_allclose(
        dots["valid, weighted"]["x"], [c.weighted_valid[1] for c in profile.columns[:4]], rtol=1e-5
    )
    scores = named(figures.ridge_scores(profile))["valid"]
    assert scores["x"] == pytest.approx([item.valid.mean for item in profile.ridges.scores], rel=1e-5)
    items = profile.ridges.importance["raw columns"]
    drops = named(figures.importance(items, profile.target_names))["t1"]
    np.testing.assert_allclose(drops["x"], [item.drop.values[1] for item in items])
