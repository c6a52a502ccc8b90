"""One scale for the members of an ensemble, so that equal weights mean equal influence.

How large predictions are depends on the loss: a run trained on `combined` predicts six to eight times as large as one
trained on `weighted_pearson`, and would weigh six to eight times as much in a plain average. So each member is divided
by the standard deviation of its own predictions, per target, and multiplied by the members' mean one, which keeps the
meaning of the clip at ±6. The factor is folded into the member's last linear layer: the network, the online runtime
and the ONNX graph are then all on that scale without code of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lobmodels.checkpoint import Checkpoint
from lobmodels.data import Sequences, cache_folder
from lobmodels.ensemble.predictions import digest, mapped
from lobmodels.errors import BundleError
from lobmodels.metric import metric_of
from lobmodels.networks import build_network
from lobmodels.networks.mixture import Weights
from lobmodels.networks.plugged import OUTPUT_SCALE
from lobmodels.training.measures import spread_index

LARGEST = 1e3  # of a member's factor: the noise of one that hardly varies must not be amplified
ROUNDING = 1e-12
Floats = NDArray[np.float64]


def spreads(members: Sequence[Checkpoint]) -> Floats | None:
    """Standard deviation (K, targets) of the members' predictions; None where a checkpoint does not hold its own, and
    where the metric is no correlation: the scale of a prediction then counts."""
    if not metric_of(members[0].schema).correlates:
        return None
    known = [member.prediction_std for member in members]
    return np.array(known, np.float64) if all(known) else None


def factors(stds: Floats | None, weights: Floats) -> Floats:
    """What each member is multiplied by, per target: the weighted mean of `stds` (K, targets) over its own.

    1 where a member does not vary, and everywhere where `stds` is None.
    """
    if stds is None:
        return np.ones(weights.shape)
    common = (weights * stds).sum(0)  # (targets,)
    varies = stds * LARGEST > common
    found = np.where(varies, common / np.where(varies, stds, 1.0), 1.0)
    return np.where(np.abs(found - 1) < ROUNDING, 1.0, found)  # equal members stay what they are, bit by bit


def rescaled(member: Checkpoint, factor: Floats) -> Checkpoint:
    """The member with its predictions multiplied by `factor` (targets,): the last linear layer carries it, or the
    constant that a network of the user's has behind it."""
    if (factor == 1).all():
        return member
    by = torch.from_numpy(np.asarray(factor, np.float64))
    weights = _scaled(member, member.weights, by) if member.weights else {}
    epochs = tuple(dataclasses.replace(kept, weights=_scaled(member, kept.weights, by)) for kept in member.epochs)
    std = member.prediction_std
    known = None if std is None else tuple(float(s * f) for s, f in zip(std, factor, strict=True))
    return dataclasses.replace(member, weights=weights, epochs=epochs, prediction_std=known)


def _scaled(member: Checkpoint, weights: Weights, by: torch.Tensor) -> Weights:
    """`weights` of a network of the member, its predictions multiplied by `by` (targets,)."""
    if OUTPUT_SCALE in weights:  # a network of the user's
        return weights | {OUTPUT_SCALE: (weights[OUTPUT_SCALE].double() * by).float()}
    weight, bias = output_layer(member)
    last = {weight: (weights[weight].double() * by[:, None]).float(), bias: (weights[bias].double() * by).float()}
    return weights | last


def output_layer(member: Checkpoint) -> tuple[str, str]:
    """Names of the weight (targets, H) and bias (targets,) of the layer whose outputs are the predictions.

    Raises `BundleError` where the network's head does not end in a linear layer.
    """
    with torch.device("meta"):
        network = build_network(member.config, len(member.pipeline.names), len(member.schema.targets))
    layers = list(network.get_submodule("head").named_modules(prefix="head"))
    name, layer = layers[-1]
    if not isinstance(layer, torch.nn.Linear) or layer.bias is None:
        raise BundleError(f"{member.name}: its head ends in {type(layer).__name__}, and only a linear layer is scaled")
    return f"{name}.weight", f"{name}.bias"


def with_spreads(
    members: Sequence[Checkpoint], train: Callable[[], Sequences], device: str | None = None
) -> list[Checkpoint]:
    """The members, each with the standard deviation of its predictions: measured on `train()` where a checkpoint
    written by an older lobtuna does not hold it."""
    if spreads(members) is not None or not metric_of(members[0].schema).correlates:
        return list(members)
    data = train()
    return [member if member.prediction_std else _measured(member, data, device) for member in members]


def _measured(member: Checkpoint, data: Sequences, device: str | None) -> Checkpoint:
    def compute() -> NDArray[np.float64]:
        raw = np.asarray(data.features[spread_index(len(data))])
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        predicted = member.predict(raw, where)[:, data.schema.warmup_steps :]
        rows = predicted.reshape(-1, predicted.shape[-1])
        if data.schema.variable_length:
            there = ~np.isnan(data.targets[spread_index(len(data)), data.schema.warmup_steps :, 0])
            rows = predicted[there]
        return rows.std(0, dtype=np.float64)

    path = cache_folder() / "spreads" / data.fingerprint / f"{digest(member)}.npy"
    std = mapped(path, (len(data.schema.targets),), compute)
    return dataclasses.replace(member, prediction_std=tuple(std.tolist()))
