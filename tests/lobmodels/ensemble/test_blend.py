"""Weights are averages; fitted ones are the best there are where they are fitted, and honest about the rest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lobmodels.ensemble import blend
from lobmodels.errors import BundleError
from lobmodels.metric import weighted_pearson
from lobmodels.schema import LOB

NAMES = ["a#0", "a#1", "b#2"]


def sample(members: int = 4, sequences: int = 6, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Members that see a heavy-tailed target through noise, each a little worse than the last."""
    rng = np.random.default_rng(seed)
    y = rng.standard_t(3, (sequences, 50, 2))
    return [0.3 * y + (1 + 0.3 * i) * rng.standard_normal(y.shape) for i in range(members)], y


@given(seed=st.integers(0, 1000), members=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_moments_know_every_blend(seed: int, members: int) -> None:
    """The correlation of any average follows from the moments; they add up over folds."""
    predictions, y = sample(members, seed=seed)
    predictions = [np.clip(p, -5, 5) for p in predictions]  # the metric's own clipping stays out of it
    weights = np.random.default_rng(seed).dirichlet(np.ones(members), 2).T
    expected = weighted_pearson(blend.combine(predictions, weights), y)
    whole = blend.moments(predictions, y)
    folds = blend.folds_of(predictions, y, 3)
    for parts in (whole, [a + b + c for a, b, c in zip(*folds, strict=True)]):
        found = [part.correlation(weights[:, j]) for j, part in enumerate(parts)]
        assert found == pytest.approx(expected, abs=1e-10)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_optimised_is_the_best_average(seed: int) -> None:
    """No average drawn at random, and no single member, correlates better than the optimum."""
    predictions, y = sample(4, seed=seed)
    parts = blend.moments(predictions, y)
    best = blend.optimised(parts)
    assert (best >= 0).all() and best.sum(0) == pytest.approx([1, 1])
    rng = np.random.default_rng(seed)
    others = [np.eye(4)[[i, i]].T for i in range(4)] + list(rng.dirichlet(np.ones(4), (200, 2)).transpose(0, 2, 1))
    assert blend.score([best], parts)[0] >= max(blend.score(others, parts)) - 1e-9


def test_useless_members() -> None:
    """A constant and a contrarian get no weight; where nothing helps, the weights are uniform."""
    predictions, y = sample(2)
    with_duds = blend.optimised(blend.moments([*predictions, np.zeros_like(y), -y], y))
    assert with_duds[2:].max() == 0.0
    nothing = blend.optimised(blend.moments([np.zeros_like(y), np.ones_like(y), -y], y))
    assert np.array_equal(nothing, blend.uniform(3, 2))


def test_shrunk_lies_between() -> None:
    """Shrunk weights are on the line from optimised to uniform, nearer to uniform where the fit does not hold up."""
    predictions, y = sample(3, 10)
    folds = blend.folds_of(predictions, y)
    weights, amount = blend.shrunk(folds)
    best = blend.fit("optimised", predictions, y)
    assert weights == pytest.approx((1 - amount) * best + amount / 3)
    rng = np.random.default_rng(1)
    exchangeable = [0.1 * y[:4] + rng.standard_normal(y[:4].shape) for _ in range(12)]
    assert blend.shrunk(blend.folds_of(exchangeable, y[:4]))[1] >= 0.5


def test_greedy_uses_the_best_first() -> None:
    """Whole counts, the same for both targets, and no worse than the best member."""
    predictions, y = sample(5)
    parts = blend.moments(predictions, y)
    weights = blend.greedy(parts)
    assert np.array_equal(weights[:, 0], weights[:, 1])
    singles = [np.eye(5)[[i, i]].T for i in range(5)]
    assert blend.score([weights], parts)[0] >= max(blend.score(singles, parts))


def test_families() -> None:
    """A family's share is split evenly among its members."""
    weights = blend.by_family(["gru", "gru_attention", "gru"], {"gru": 0.7, "gru_attention": 0.3}, LOB.targets)
    assert weights[:, 0] == pytest.approx([0.35, 0.3, 0.35])


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"gru": 0.7, "lstm": 0.3}, "name lstm, but the members are gru, gru_attention"),
        ({"gru": 1.0}, "do not say what gru_attention weighs"),
        ({"gru": 0.7, "gru_attention": 0.4}, "must sum to 1"),
        ({"gru": 1.2, "gru_attention": -0.2}, "not negative"),
    ],
)
def test_bad_families(shares: dict[str, float], message: str) -> None:
    """Families that are not there, forgotten, or that do not sum: refused."""
    with pytest.raises(BundleError, match=message):
        blend.by_family(["gru", "gru_attention"], shares, LOB.targets)


def test_lists() -> None:
    """One list for both targets, or one each."""
    assert blend.listed("0.5,0.3,0.2", NAMES, LOB.targets).tolist() == [[0.5, 0.5], [0.3, 0.3], [0.2, 0.2]]
    assert blend.listed("0.5,0.3,0.2/1,0,0", NAMES, LOB.targets)[:, 1].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5,0.5", "are 2 numbers for 3 members: a#0, a#1, b#2"),
        ("0.5,0.5,0.5", "must sum to 1"),
        ("1,0,0/1,0,0/1,0,0", "3 and 3 and 3 numbers"),
        ("best", "give uniform, optimised"),
        ("1,nan,0", "finite"),
    ],
)
def test_bad_lists(text: str, message: str) -> None:
    """Another count, another sum, no numbers: refused with what was expected."""
    with pytest.raises(BundleError, match=message):
        blend.listed(text, NAMES, LOB.targets)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"a#0": 0.5, "b#2": 0.5}, [[0.5, 0.5], [0, 0], [0.5, 0.5]]),
        ({"a#0": [1, 0], "b#2": [0, 1]}, [[1, 0], [0, 0], [0, 1]]),
        ({"t0": {"a#0": 1}, "t1": {"a#1": 1}}, [[1, 0], [0, 1], [0, 0]]),
        ({"variants": {"optimised": {"weights": {"b#2": 1}}}}, [[0, 0], [0, 0], [1, 1]]),
    ],
)
def test_json(tmp_path: Path, document: dict[str, object], expected: list[list[float]]) -> None:
    """Plain, per target either way round, and a variant of an analysis."""
    path = tmp_path / "weights.json"
    path.write_text(json.dumps(document))
    assert blend.from_json(path, NAMES, LOB.targets, "optimised").tolist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"c#9": 1}', "names c#9, but the members are"),
        ('{"a#0": 0.5}', "must sum to 1"),
        ('{"a#0": "much"}', "a weight is a number"),
        ('{"variants": {"greedy": {}}}', "holds the variants greedy; say which"),
        ("[1]", "holds no weights"),
        ("{", "cannot be read"),
    ],
)
def test_bad_json(tmp_path: Path, text: str, message: str) -> None:
    """Every fault of a weights file is named."""
    path = tmp_path / "weights.json"
    path.write_text(text)
    with pytest.raises(BundleError, match=message):
        blend.from_json(path, NAMES, LOB.targets)
    with pytest.raises(BundleError, match="cannot be read"):
        blend.from_json(tmp_path / "none.json", NAMES, LOB.targets)
