"""What a finished run is measured by for its later use as a member: how large its predictions are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

if TYPE_CHECKING:
    from lobmodels.training.batches import RunData

SEQUENCES = 512  # of train, evenly spaced: 460,000 rows give a standard deviation to about 2 %
BATCH = 128


def spread_index(count: int) -> NDArray[np.int64]:
    """The train sequences, of `count`, that a run's standard deviation is measured on."""
    return np.unique(np.linspace(0, count - 1, min(count, SEQUENCES)).round().astype(np.int64))


@torch.inference_mode()
def prediction_std(network: nn.Module, data: RunData) -> tuple[float, ...]:
    """Standard deviation of the predictions per target, over the scored rows of train sequences."""
    network.eval()
    index = torch.from_numpy(spread_index(len(data.train)))
    parts = []
    for x, y in data.train.batches(index, BATCH):
        prediction = network(x)[-y.shape[0] :].double()  # (S, B, K)
        parts.append(prediction.reshape(-1, prediction.shape[-1]).cpu())
    return tuple(torch.cat(parts).std(0, correction=0).tolist())
