"""Losses equal independent float64 formulas, have true gradients, and stay finite on degenerate batches."""

import numpy as np
import pytest
import torch

from lobmodels.config import RunConfig
from lobmodels.training.losses import build_loss

CONFIGS = {
    "mse": {"loss": "mse"},
    "huber": {"loss": "huber", "huber_delta": 0.7},
    "weighted_mse": {"loss": "weighted_mse"},
    "weighted_huber": {"loss": "weighted_huber", "huber_delta": 0.7},
    "combined": {"loss": "combined", "weighted_ratio": 0.62},
    "weighted_pearson": {"loss": "weighted_pearson"},
    "pearson_combined": {"loss": "pearson_combined", "pearson_alpha": 0.6, "weighted_ratio": 0.5},
}
EXTRAS = ({}, {"t0_weight": 1.0, "t1_weight": 3.0}, {"temporal_consistency": 0.3}, {"target_clip": 1.5})
IDS = ["plain", "target weights", "consistency", "target clip"]


def batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets (S, B, K) = (7, 5, 2), heavy-tailed, some predictions beyond the clip."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 3.0, (7, 5, 2)), rng.standard_t(3, (7, 5, 2))


def reference(name: str, extra: dict[str, float], p: np.ndarray, y: np.ndarray) -> float:
    """The formulas of the findings in float64 numpy, one target at a time."""
    weights = np.array([extra.get("t0_weight", 1.0), extra.get("t1_weight", 1.0)])
    weights = weights / weights.mean()
    if extra.get("target_clip", 0.0) > 0:
        y = np.clip(y, -extra["target_clip"], extra["target_clip"])
    error = p - y
    mse = np.mean([weights[k] * np.mean(error[..., k] ** 2) for k in (0, 1)])
    small = np.abs(error) <= 0.7
    bent = np.where(small, error**2 / 2, 0.7 * (np.abs(error) - 0.35))
    huber = np.mean(bent * weights)
    mass = sum(weights[k] * np.sum(np.abs(y[..., k]) + 1e-8) for k in (0, 1))
    weighted = sum(weights[k] * np.sum((np.abs(y[..., k]) + 1e-8) * error[..., k] ** 2) for k in (0, 1)) / mass
    weighted_huber = sum(weights[k] * np.sum((np.abs(y[..., k]) + 1e-8) * bent[..., k]) for k in (0, 1)) / mass

    def rho(k: int) -> float:
        q, t = np.clip(p[..., k], -6, 6).ravel(), y[..., k].ravel()
        w = np.maximum(np.abs(t), 1e-6)
        q, t = q - np.average(q, weights=w), t - np.average(t, weights=w)
        variances = [max(np.average(v**2, weights=w), 1e-6) for v in (q, t)]
        return np.average(q * t, weights=w) / np.sqrt(variances[0] * variances[1])

    correlation = np.mean([weights[k] * rho(k) for k in (0, 1)])
    value = {
        "mse": mse,
        "huber": huber,
        "weighted_mse": weighted,
        "weighted_huber": weighted_huber,
        "combined": 0.38 * mse + 0.62 * weighted,
        "weighted_pearson": -correlation,
        "pearson_combined": 0.6 * (0.5 * mse + 0.5 * weighted) + 0.4 * (1 - correlation),
    }[name]
    steps = np.diff(p, axis=0) - np.diff(y, axis=0)
    return float(value + extra.get("temporal_consistency", 0.0) * np.mean(steps**2 * weights))


@pytest.mark.parametrize("extra", EXTRAS, ids=IDS)
@pytest.mark.parametrize("name", CONFIGS)
def test_equals_the_formula(name: str, extra: dict[str, float]) -> None:
    """Every loss equals its formula computed independently in float64."""
    p, y = batch()
    loss = build_loss(RunConfig.parse(CONFIGS[name] | extra))
    assert loss(torch.from_numpy(p), torch.from_numpy(y)).item() == pytest.approx(
        reference(name, extra, p, y), rel=1e-6
    )


@pytest.mark.parametrize("extra", EXTRAS, ids=IDS)
@pytest.mark.parametrize("name", CONFIGS)
def test_gradient_is_true(name: str, extra: dict[str, float]) -> None:
    """Gradients equal finite differences."""
    p, y = batch(1)
    loss = build_loss(RunConfig.parse(CONFIGS[name] | extra))
    target = torch.from_numpy(y)
    assert torch.autograd.gradcheck(lambda q: loss(q, target), torch.from_numpy(p).requires_grad_(), atol=1e-6)


@pytest.mark.parametrize("weight", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("name", CONFIGS)
def test_equal_target_weights_change_nothing(name: str, weight: float) -> None:
    """Weighting both targets alike is not weighting them at all."""
    p, y = (torch.from_numpy(a) for a in batch(2))
    plain = build_loss(RunConfig.parse(CONFIGS[name]))(p, y)
    weighted = build_loss(RunConfig.parse(CONFIGS[name] | {"t0_weight": weight, "t1_weight": weight}))(p, y)
    assert plain.item() == pytest.approx(weighted.item(), rel=1e-12)


@pytest.mark.parametrize("extra", EXTRAS, ids=IDS)
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("case", ["constant prediction", "zero targets", "one row", "perfect"])
def test_degenerate_batches_stay_finite(case: str, name: str, extra: dict[str, float]) -> None:
    """Value and gradient are finite where nothing varies, nothing moves, or there is a single row."""
    p, y = (torch.from_numpy(a).float() for a in batch(3))
    p, y = {
        "constant prediction": (torch.zeros_like(p), y),
        "zero targets": (p, torch.zeros_like(y)),
        "one row": (p[:1, :1], y[:1, :1]),
        "perfect": (y.clone(), y),
    }[case]
    p = p.clone().requires_grad_()
    value = build_loss(RunConfig.parse(CONFIGS[name] | extra))(p, y)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(p.grad).all()
