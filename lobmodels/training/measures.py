"""Measurements of a finished run for later use: how large its predictions are, and its score sequence by sequence.

The first scales it to the other members of an ensemble, the second shows how much its score may be due to chance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lobmodels.bootstrap import sequence_statistics
from lobmodels.metric import metric_of
from lobmodels.schema import Schema
from lobmodels.training.outputs import BATCH, Outputs

SEQUENCES = 512  # of train, evenly spaced: 460,000 rows give a standard deviation to about 2 %


def spread_index(count: int) -> NDArray[np.int64]:
    """The train sequences, of `count`, that a run's standard deviation is measured on."""
    return np.unique(np.linspace(0, count - 1, min(count, SEQUENCES)).round().astype(np.int64))


def prediction_std(train: Outputs) -> tuple[float, ...]:
    """Standard deviation of the predictions per target, over the scored rows."""
    return tuple(train.rows()[0].double().std(0, correction=0).tolist())


def sequence_sums(outputs: Outputs, schema: Schema) -> NDArray[np.float32] | None:
    """`lobmodels.bootstrap.sequence_statistics` of each sequence, (N, 6, K). None under a metric that is no
    correlation: what reads the sums of a checkpoint knows correlations alone."""
    if not metric_of(schema).correlates:
        return None
    prediction, target = outputs.prediction.numpy(), outputs.target.numpy()
    parts = [slice(first, first + BATCH) for first in range(0, len(outputs), BATCH)]  # float64 copies of a few only
    found = [sequence_statistics(prediction[part], target[part], schema) for part in parts]
    return np.concatenate(found).astype(np.float32)
