"""Training losses on scored steps, built once from a configuration. All reduce to one number per batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lobmodels.config import RunConfig
from lobmodels.registry import Registry

Loss = Callable[[Tensor, Tensor], Tensor]
WEIGHT_FLOOR = 1e-8  # of |y| in the weighted squared error
PEARSON_WEIGHT_FLOOR = 1e-6  # of |y| in the correlation
VARIANCE_FLOOR = 1e-6
CLIP = 6.0


TargetLoss = Callable[[Tensor, Tensor, Tensor, RunConfig], Tensor]
LOSSES: Registry[TargetLoss] = Registry("loss")
"""Each entry is `loss(p, y, w, config)`: prediction and target (S, B, K), weights (K,) of mean 1, to a scalar."""


def build_loss(config: RunConfig, device: torch.device | str = "cpu") -> Loss:
    """The loss of `config`: `loss(prediction, target)`, both (S, B, K) with S consecutive scored steps, to a scalar.
    All lie on `device`.

    Target weights are renormalised to mean 1, so that equal weights change nothing. Raises `UnknownNameError`.
    """
    base, strength = LOSSES[config.loss], config.temporal_consistency
    raw = torch.tensor([config.t0_weight, config.t1_weight])
    weights = (raw / raw.mean()).to(device)  # once: a copy a step would make the host wait for the device

    def loss(p: Tensor, y: Tensor) -> Tensor:
        if config.target_clip > 0:
            y = y.clamp(-config.target_clip, config.target_clip)
        value = base(p, y, weights, config)
        return value if strength == 0 else value + strength * temporal_consistency(p, y, weights)

    return loss


@LOSSES.register("mse")
def mse(p: Tensor, y: Tensor, w: Tensor, config: RunConfig) -> Tensor:
    """Mean of w_k (p - y)² over all entries."""
    return ((p - y).square() * w).mean()


@LOSSES.register("huber")
def huber(p: Tensor, y: Tensor, w: Tensor, config: RunConfig) -> Tensor:
    """Mean of w_k times Huber's loss: e²/2 up to `huber_delta`, then delta (|e| - delta/2)."""
    return (torch.nn.functional.huber_loss(p, y, reduction="none", delta=config.huber_delta) * w).mean()


@LOSSES.register("weighted_mse")
def weighted_mse(p: Tensor, y: Tensor, w: Tensor, config: RunConfig) -> Tensor:
    """Σ w_k (|y| + 1e-8)(p - y)² / Σ w_k (|y| + 1e-8), both targets pooled."""
    weight = (y.abs() + WEIGHT_FLOOR) * w
    return (weight * (p - y).square()).sum() / weight.sum()


@LOSSES.register("weighted_huber")
def weighted_huber(p: Tensor, y: Tensor, w: Tensor, config: RunConfig) -> Tensor:
    """Huber's loss with the weights of `weighted_mse`: Σ w_k (|y| + 1e-8) huber(p - y) / Σ w_k (|y| + 1e-8)."""
    weight = (y.abs() + WEIGHT_FLOOR) * w
    each = torch.nn.functional.huber_loss(p, y, reduction="none", delta=config.huber_delta)
    return (weight * each).sum() / weight.sum()


@LOSSES.register("combined")
def combined(p: Tensor, y: Tensor, w: Tensor, config: RunConfig) -> Tensor:
    """(1 - ratio) mse + ratio weighted_mse, the ratio being `weighted_ratio`."""
    ratio = config.weighted_ratio
    return (1 - ratio) * mse(p, y, w, config) + ratio * weighted_mse(p, y, w, config)


@LOSSES.register("weighted_pearson")
def weighted_pearson(p: Tensor, y: Tensor, w: Tensor, config: RunConfig) -> Tensor:
    """Minus the mean correlation."""
    return -mean_correlation(p, y, w)


@LOSSES.register("pearson_combined")
def pearson_combined(p: Tensor, y: Tensor, w: Tensor, config: RunConfig) -> Tensor:
    """alpha combined + (1 - alpha)(1 - mean correlation), alpha being `pearson_alpha`."""
    alpha = config.pearson_alpha
    return alpha * combined(p, y, w, config) + (1 - alpha) * (1 - mean_correlation(p, y, w))


def mean_correlation(p: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """w-weighted mean over targets of the weighted Pearson correlation, pooled over the batch.

    Weights max(|y|, 1e-6), predictions clamped to ±6, variances floored at 1e-6 so that constants stay finite.
    """
    p = p.clamp(-CLIP, CLIP).flatten(0, -2)  # (S*B, K)
    y = y.flatten(0, -2)
    weight = y.abs().clamp_min(PEARSON_WEIGHT_FLOOR)
    weight = weight / weight.sum(0)
    p = p - (weight * p).sum(0)
    y = y - (weight * y).sum(0)
    variance = (weight * p.square()).sum(0).clamp_min(VARIANCE_FLOOR) * (weight * y.square()).sum(0).clamp_min(
        VARIANCE_FLOOR
    )
    rho = (weight * p * y).sum(0) / variance.sqrt()
    return (rho * w).mean()


def temporal_consistency(p: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """Mean of w_k ((p_t - p_{t-1}) - (y_t - y_{t-1}))²; 0 where there is a single step."""
    if p.shape[0] < 2:
        return p.sum() * 0.0
    return ((p.diff(dim=0) - y.diff(dim=0)).square() * w).mean()
