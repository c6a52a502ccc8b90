"""Training losses on scored steps, built once from a configuration. All reduce to one number per batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lobmodels.config import RunConfig
from lobmodels.errors import ConfigError
from lobmodels.registry import Registry
from lobmodels.schema import LOB, Schema

Loss = Callable[[Tensor, Tensor], Tensor]
Rows = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # keeps the steps that have a target
WEIGHT_FLOOR = 1e-8  # of |y| in the weighted squared error
PEARSON_WEIGHT_FLOOR = 1e-6  # of |y| in the correlation
VARIANCE_FLOOR = 1e-6
CLIP = 6.0
CLIPPED = {"weighted_pearson", "pearson_combined"}  # losses that cut predictions to ±CLIP


TargetLoss = Callable[[Tensor, Tensor, Tensor, RunConfig], Tensor]
LOSSES: Registry[TargetLoss] = Registry("loss")
"""Each entry is `loss(p, y, w, config)`: prediction and target (S, B, K), weights (K,) of mean 1, to a scalar."""


def build_loss(config: RunConfig, device: torch.device | str = "cpu", schema: Schema = LOB) -> Loss:
    """The loss of `config`: `loss(prediction, target)`, both (S, B, K) with S consecutive scored steps, to a scalar.
    All lie on `device`. Steps whose target is NaN lie behind the end of a shorter sequence and are left out.

    Target weights are renormalised to mean 1, so that equal weights change nothing. Raises `UnknownNameError`, and
    `ConfigError` where the data does not allow this loss (`refused_by`).
    """
    refused = refused_by(config, schema)
    if refused:
        raise ConfigError(refused)
    base, strength = LOSSES[config.loss], config.temporal_consistency
    raw = (
        torch.tensor([config.t0_weight, config.t1_weight])
        if len(schema.targets) == 2
        else torch.ones(len(schema.targets))
    )
    weights = (raw / raw.mean()).to(device)  # once: a copy a step would make the host wait for the device
    rows = _rows_there if schema.variable_length else _all_rows

    def loss(p: Tensor, y: Tensor) -> Tensor:
        if config.target_clip > 0:
            y = y.clamp(-config.target_clip, config.target_clip)
        value = base(*rows(p, y), weights, config)
        return value if strength == 0 else value + strength * temporal_consistency(p, y, weights, rows)

    return loss


def refused_by(config: RunConfig, schema: Schema) -> list[str]:
    """Why data of `schema` does not allow the loss of `config`; empty where it does."""
    found = []
    if config.loss in CLIPPED and schema.clip != CLIP:
        found.append(
            f"loss={config.loss!r} cuts predictions to ±{CLIP:g}, and the data's schema has clip "
            f"{schema.clip or 'null'}: choose another loss, or set clip: {CLIP:g}"
        )
    if len(schema.targets) != 2 and config.t0_weight != config.t1_weight:
        found.append(
            f"t0_weight={config.t0_weight:g} and t1_weight={config.t1_weight:g} weigh two targets, and the data has "
            f"{len(schema.targets)}: leave them out"
        )
    return found


def _all_rows(p: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return p, y


def _rows_there(p: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Prediction and target (R, K) of the steps that have a target. On a GPU this waits for the device."""
    there = ~y[..., 0].isnan()  # (S, B)
    return p[there], y[there]


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


def temporal_consistency(p: Tensor, y: Tensor, w: Tensor, rows: Rows) -> Tensor:
    """Mean of w_k ((p_t - p_{t-1}) - (y_t - y_{t-1}))² over the differences that `rows` keeps; 0 where there are
    none."""
    ours, theirs = rows(p.diff(dim=0), y.diff(dim=0))
    return ((ours - theirs).square() * w).mean() if ours.numel() else p.sum() * 0.0
