"""Members of an ensemble are on one scale, wherever they are averaged."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lobmodels.checkpoint import Checkpoint
from lobmodels.data import Dataset
from lobmodels.ensemble import blend, scale
from lobmodels.ensemble.bundle import Bundle
from lobmodels.training.measures import spread_index
from tests.lobmodels.ensemble.made_runs import rows, run


def of_scale(size: float, seed: int, **values: object) -> Checkpoint:
    """A run whose predictions have about `size` times the usual standard deviation, which it knows."""
    member = scale.rescaled(run(f"joint#{seed}", seed, **values), np.array([size, 2 * size]))
    std = member.predict(rows(6, 120))[:, 20:].std((0, 1))
    return dataclasses.replace(member, prediction_std=tuple(std.tolist()))


MIXED = [
    of_scale(0.2, 0, hidden_size=6, num_layers=1),
    of_scale(3.0, 1, hidden_size=5, num_layers=1, head="mlp"),
    of_scale(1.0, 2, architecture="gru_attention", hidden_size=4, num_layers=1, attention_window=5),
    of_scale(0.7, 3, architecture="lstm", hidden_size=4, num_layers=1),
]


@pytest.mark.parametrize("weights", [None, [[0.7, 0.1], [0.1, 0.2], [0.1, 0.3], [0.1, 0.4]]])
def test_every_member_varies_as_much_as_the_mean_one(weights: list[list[float]] | None) -> None:
    """After scaling all have one standard deviation a target, the weighted mean of their own: the clip keeps its
    meaning. Correlations of a member by itself do not change."""
    bundle = Bundle.of(MIXED, weights)
    stds = np.array([member.prediction_std for member in MIXED])
    expected = (bundle.weights * stds).sum(0)
    for before, after in zip(MIXED, bundle.members, strict=True):
        found = after.predict(rows(6, 120))[:, 20:]
        assert found.std((0, 1)) == pytest.approx(expected, rel=1e-4)
        assert after.prediction_std == pytest.approx(expected)
        for j in range(2):
            own = before.predict(rows(6, 120))[:, 20:, j]
            assert np.corrcoef(own.ravel(), found[..., j].ravel())[0, 1] == pytest.approx(1, abs=1e-6)


def test_the_online_runtime_is_on_that_scale() -> None:
    """What the submission predicts is the weighted mean of what the trained members predict, each over its own
    standard deviation and times the common one."""
    bundle, raw = Bundle.of(MIXED), rows(1, 40, seed=5)
    stds = np.array([member.prediction_std for member in MIXED])
    expected = np.mean([m.predict(raw)[0] / s for m, s in zip(MIXED, stds, strict=True)], axis=0) * stds.mean(0)
    online = bundle.predictor("numpy")
    found = np.stack([online.predict(0, t, True, raw[0, t]) for t in range(40)])
    assert np.abs(found - expected).max() < 1e-5 and np.abs(bundle.predict(raw)[0] - expected).max() < 1e-5


def test_equal_members_stay_what_they_are() -> None:
    """With one standard deviation nothing is multiplied: the weights in the zip are the trained ones, bit by bit."""
    members = [run(f"joint#{i}", i, hidden_size=4, num_layers=1) for i in range(3)]
    bundle = Bundle.of(members)
    assert (bundle.factors == 1).all() and all(a is b for a, b in zip(bundle.members, members, strict=True))


def test_a_constant_member_is_not_blown_up() -> None:
    """A member that predicts a constant keeps it; the others are brought to the mean scale."""
    stds = np.array([[0.0, 1e-9], [0.5, 0.5], [1.0, 1.0]])
    assert scale.factors(stds, blend.uniform(3, 2))[0].tolist() == [1, 1]
    assert scale.factors(stds, blend.uniform(3, 2))[1:] == pytest.approx(np.array([[1, 1], [0.5, 0.5]]))


def test_without_a_spread_nothing_is_scaled() -> None:
    """One checkpoint of an older lobtuna, and all members are averaged as they are."""
    old = [dataclasses.replace(MIXED[0], prediction_std=None), *MIXED[1:]]
    assert scale.spreads(old) is None and (Bundle.of(old).factors == 1).all()


def test_older_checkpoints_get_theirs_from_the_data(small_dataset: Dataset) -> None:
    """Measured on the same train rows as a new run's, and kept in the cache; members that have one keep it."""
    old = dataclasses.replace(run("joint#9", 9, hidden_size=4, num_layers=1), prediction_std=None)
    train = small_dataset.train
    found = scale.with_spreads([old, MIXED[1]], lambda: train)
    raw = train.features[spread_index(len(train))]
    expected = old.predict(np.asarray(raw))[:, train.schema.warmup_steps :].std((0, 1), dtype=np.float64)
    assert found[0].prediction_std == pytest.approx(expected.tolist(), rel=1e-9) and found[1] is MIXED[1]
    again = scale.with_spreads([dataclasses.replace(old, name="other"), MIXED[1]], lambda: train)
    assert again[0].prediction_std == found[0].prediction_std
