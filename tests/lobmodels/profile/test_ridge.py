"""The ridge models are ridge models, and their importance that of permuted columns."""

from __future__ import annotations

import numpy as np
import pytest

from lobmodels.data import Dataset
from lobmodels.features import GROUPS
from lobmodels.metric import weighted_pearson
from lobmodels.profile import Profile
from lobmodels.profile.chunks import all_feature_names, column_groups
from lobmodels.profile.ridge import RAW, fit_ridges
from lobmodels.schema import LOB

WARMUP = 99
WIDTH = len(all_feature_names(LOB))  # columns and features of all groups


def test_ridge_is_the_ridge(small_dataset: Dataset, profile: Profile, rows: dict[str, np.ndarray]) -> None:
    """Weights equal a direct solution on standardised scored rows; scores equal the metric of its forecasts."""
    scores = {item.ridge.name: item for item in profile.ridges.scores}
    ridge = scores[RAW].ridge
    x, y = rows["train x"][:, WARMUP:, :32].reshape(-1, 32), rows["train y"][:, WARMUP:].reshape(-1, 2)
    mean, std = x.mean(0), x.std(0)
    z = (x - mean) / std
    for k in range(2):
        penalty = ridge.penalties[k] * len(z)
        beta = np.linalg.solve(z.T @ z + penalty * np.eye(32), z.T @ (y[:, k] - y[:, k].mean()))
        np.testing.assert_allclose(ridge.weights[:32, k], beta / std, rtol=1e-5, atol=1e-9)
        assert ridge.intercept[k] == pytest.approx(y[:, k].mean() - mean @ (beta / std), abs=1e-8)
    assert (ridge.weights[32:] == 0).all()
    for part in ("train", "valid"):
        forecast = rows[f"{part} x"][:, WARMUP:] @ ridge.weights + ridge.intercept
        expected = weighted_pearson(forecast, rows[f"{part} y"][:, WARMUP:])
        np.testing.assert_allclose(getattr(scores[RAW], part).values, expected, atol=1e-5)
    assert len(scores) == len(GROUPS) + 2 and len(scores["all features"].ridge.columns) == WIDTH


def test_penalty_is_chosen_on_held_out_folds() -> None:
    """Where columns are pure noise the largest penalty wins; where they explain everything, a small one."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, WIDTH))
    signal = np.stack([x @ rng.standard_normal(WIDTH), rng.standard_normal(400)], axis=1)
    z = np.concatenate([x, signal, np.ones((400, 1))], axis=1)
    gram = np.stack([z[fold::5].T @ z[fold::5] for fold in range(5)])
    fitted = fit_ridges(gram, LOB)[-1]
    assert fitted.penalties[0] < 1e-3 and fitted.penalties[1] == 1e-1


def test_ridge_importance_is_that_of_permuted_columns(
    small_dataset: Dataset, profile: Profile, rows: dict[str, np.ndarray]
) -> None:
    """Permuting a group's part of the forecast is permuting its columns; what carries the signal costs most."""
    ridge = next(item.ridge for item in profile.ridges.scores if item.ridge.name == RAW)
    x = rows["valid x"][:, WARMUP:]
    target = rows["valid y"][:, WARMUP:]
    base = weighted_pearson(x @ ridge.weights + ridge.intercept, target)
    found = {item.group: item for item in profile.ridges.importance[RAW]}
    assert set(found) == {name for name in column_groups(LOB, ()) if name not in GROUPS}
    moved = x.copy().reshape(-1, WIDTH)
    columns = column_groups(LOB)["bid volumes"]
    moved[:, columns] = moved[np.random.default_rng(5).permutation(len(moved))][:, columns]
    drop = base - weighted_pearson(moved.reshape(x.shape) @ ridge.weights + ridge.intercept, target)
    np.testing.assert_allclose(found["bid volumes"].drop.values, drop, atol=0.02)
    assert {item.group for item in profile.ridges.importance[RAW][:2]} == {"bid volumes", "ask volumes"}
