"""Untrained runs for the tests of ensembles, with weights large enough that every gate moves."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.inputs import InputPipeline
from lobmodels.networks import build_network
from lobmodels.networks.mixture import KeptEpoch
from lobmodels.schema import LOB


def rows(sequences: int, steps: int, seed: int = 0) -> NDArray[np.float32]:
    """Rows (N, T, 32) like the challenge's: prices that wander, signed volumes, a few exact repeats."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((sequences, steps, 32)).astype(np.float32)
    x[..., :12] = np.cumsum(0.1 * x[..., :12], axis=1)
    x[:, 1::3, :12] = x[:, 0:-1:3, :12][:, : x[:, 1::3].shape[1]]
    return np.clip(x, -5.2, 5.2)


def run(name: str = "joint#0", seed: int = 0, gain: float = 1.5, **values: Any) -> Checkpoint:
    """A checkpoint of `values` with random weights."""
    config = RunConfig.parse(values)
    inputs = (config.feature_groups(), config.normalizer, LOB)
    pipeline = InputPipeline.fit(rows(6, 80, seed=99), *inputs, settings=config.feature_settings())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_network(config, len(pipeline.names))
        weights = {key: gain * value for key, value in network.state_dict().items()}
    return Checkpoint(
        name=name,
        config=config,
        seed=seed,
        pipeline=pipeline,
        weights=weights,
        history=[],
        best_epoch=0,
        scores={"select": {"t0": 0.2, "t1": 0.1, "mean": 0.15}, "report": None},
        data_fingerprint="data",
        report_fraction=0.25,
        valid_fingerprint="valid",
        prediction_std=(0.4, 0.3),
    )


def several(name: str, shares: list[tuple[float, float]], **values: Any) -> Checkpoint:
    """A run that keeps an epoch for each of `shares`: the second, the fourth and so on."""
    singles = [run(name, 100 + i, **values) for i in range(len(shares))]
    epochs = tuple(
        KeptEpoch(2 * i + 1, one.weights, share) for i, (one, share) in enumerate(zip(singles, shares, strict=True))
    )
    return dataclasses.replace(singles[0], weights={}, epochs=epochs, prediction_std=(0.8, 0.5))
