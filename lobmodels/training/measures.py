"""Measurements of a finished run for later use: how large its predictions are, and its score sequence by sequence.

The first scales it to the other members of an ensemble, the second shows how much its score may be due to chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lobmodels.bootstrap import sequence_statistics
from lobmodels.device import float32_arithmetic
from lobmodels.metric import metric_of
from lobmodels.schema import Schema

if TYPE_CHECKING:
    from lobmodels.training.batches import RunData, Split

SEQUENCES = 512  # of train, evenly spaced: 460,000 rows give a standard deviation to about 2 %
BATCH = 128


def spread_index(count: int) -> NDArray[np.int64]:
    """The train sequences, of `count`, that a run's standard deviation is measured on."""
    return np.unique(np.linspace(0, count - 1, min(count, SEQUENCES)).round().astype(np.int64))


@dataclass(frozen=True)
class Measures:
    """The measurements, as the checkpoint's fields of the same names hold them."""

    prediction_std: tuple[float, ...]
    sequence_sums: dict[str, NDArray[np.float32]]


def measure(network: nn.Module, data: RunData) -> Measures:
    """Measure `network`, in float32 on every device: `select` and `report` where it has sequences."""
    parts = {"select": data.select, "report": data.report}
    schema = data.dataset.schema
    with float32_arithmetic():
        known = metric_of(schema).correlates  # what reads the sums of a checkpoint knows correlations alone
        sums = {name: sequence_sums(network, split, schema) for name, split in parts.items() if known and len(split)}
        return Measures(prediction_std(network, data), sums)


@torch.inference_mode()
def prediction_std(network: nn.Module, data: RunData) -> tuple[float, ...]:
    """Standard deviation of the predictions per target, over the scored rows of train sequences."""
    network.eval()
    index = torch.from_numpy(spread_index(len(data.train)))
    parts = []
    for x, y in data.train.batches(index, BATCH):
        prediction = network(x)[-y.shape[0] :].double()  # (S, B, K)
        if data.train.lengths is not None:
            prediction = prediction[~y[..., 0].isnan()]
        parts.append(prediction.reshape(-1, prediction.shape[-1]).cpu())
    return tuple(torch.cat(parts).std(0, correction=0).tolist())


@torch.inference_mode()
def sequence_sums(network: nn.Module, split: Split, schema: Schema) -> NDArray[np.float32]:
    """`lobmodels.bootstrap.sequence_statistics` of the predictions on the sequences of `split`: (N, 6, K)."""
    network.eval()
    parts = []
    for x, y in split.batches(torch.arange(len(split)), BATCH):
        prediction = network(x)[-y.shape[0] :].float()  # (S, B, K)
        both = (prediction.transpose(0, 1).cpu().numpy(), y.transpose(0, 1).cpu().numpy())
        parts.append(sequence_statistics(*both, schema))
    return np.concatenate(parts).astype(np.float32)
