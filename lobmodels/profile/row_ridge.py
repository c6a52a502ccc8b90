"""A ridge regression on the raw columns of one row: the plainest forecast, which other scores are read beside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lobmodels.bootstrap import sequence_statistics
from lobmodels.data import Sequences
from lobmodels.profile.ridge import RAW, fit_ridge

Array = NDArray[np.float64]
FOLDS = 5  # of the train sequences, by which the penalties are chosen
CHUNK = 16  # sequences held in memory as float64 at a time


def row_ridge_sums(train: Sequences, valid: Sequences) -> Array:
    """Sums (N, 6, targets) of each valid sequence, as `lobmodels.bootstrap` has them, of a ridge fitted on train.

    Reads a few sequences at a time, in this thread alone.
    """
    schema = train.schema
    columns, groups = list(range(len(schema.features))), tuple(schema.column_groups)
    ridge = fit_ridge(RAW, groups, columns, _gram(train), len(schema.targets))
    sums = [
        sequence_statistics(rows @ ridge.weights + ridge.intercept, targets, schema)
        for rows, targets in (_scored(valid, start) for start in range(0, len(valid), CHUNK))
    ]
    return np.concatenate(sums)


def _gram(train: Sequences) -> Array:
    """Products (FOLDS, F + K + 1, F + K + 1) of columns, targets and a constant, summed over the scored rows."""
    size = len(train.schema.features) + len(train.schema.targets) + 1
    gram = np.zeros((FOLDS, size, size))
    for number, start in enumerate(range(0, len(train), CHUNK)):
        parts = [part.reshape(-1, part.shape[-1]) for part in _scored(train, start)]
        rows = np.concatenate([*parts, np.ones((len(parts[0]), 1))], axis=1)  # (R, F + K + 1)
        gram[number % FOLDS] += rows.T @ rows
    return gram


def _scored(sequences: Sequences, start: int) -> tuple[Array, Array]:
    """Columns (B, S, F) and targets (B, S, K) of the scored rows of at most `CHUNK` sequences."""
    part, warmup = slice(start, start + CHUNK), sequences.schema.warmup_steps
    features, targets = (
        np.asarray(a[part, warmup:], dtype=np.float64) for a in (sequences.features, sequences.targets)
    )
    return features, targets
