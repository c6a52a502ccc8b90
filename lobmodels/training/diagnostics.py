"""How a run scores where validation differs most from training: by percentile buckets of the most shifted features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.distributions import ks_by_column
from lobmodels.metric import score
from lobmodels.training.outputs import Outputs

if TYPE_CHECKING:
    from lobmodels.data import Dataset, Sequences
    from lobmodels.training.batches import RunData

FEATURES = 5  # how many of the most shifted features are looked at
PERCENTILES = (0, 20, 40, 60, 80, 100)
SAMPLE = 200_000  # rows a distribution is estimated from: a KS distance to about .003

_shifts: dict[str, list[tuple[int, float]]] = {}  # by the data set's fingerprint: all columns with their KS distance


def most_shifted(dataset: Dataset, count: int = FEATURES) -> list[tuple[int, float]]:
    """Columns with the largest KS distance between train and valid rows: (column, distance), largest first.

    Computed once a data set and process: it takes seconds at full size, and every run of a worker asks.
    """
    if dataset.fingerprint not in _shifts:
        _shifts.clear()  # a process works on one data set
        train, valid = (_sample(s) for s in (dataset.train, dataset.valid))
        distances = enumerate(ks_by_column(train, valid).tolist())
        _shifts[dataset.fingerprint] = sorted(distances, key=lambda pair: -pair[1])
    return _shifts[dataset.fingerprint][:count]


def shift_buckets(selected: Outputs, data: RunData) -> list[dict[str, Any]]:
    """Scores on selection rows, whose outputs are `selected`, by percentile bucket of the most shifted features.

    Buckets hold equal shares of the selection rows. One entry a bucket: feature, ks (train against valid), bucket
    (from 0), low and high edge, rows, score of each target, mean.
    """
    prediction, target = (part.numpy() for part in selected.rows())
    schema = data.dataset.schema
    raw = _scored_rows(data)
    entries = []
    for column, distance in most_shifted(data.dataset):
        values = raw[:, column]
        edges = np.percentile(values, PERCENTILES)
        bucket = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(PERCENTILES) - 2)
        for i in range(len(PERCENTILES) - 1):
            rows = bucket == i
            scores = score(prediction[rows], target[rows], schema) if rows.any() else np.zeros(len(schema.targets))
            entries.append(
                {
                    "feature": schema.features[column],
                    "ks": distance,
                    "bucket": i,
                    "low": float(edges[i]),
                    "high": float(edges[i + 1]),
                    "rows": int(rows.sum()),
                    **dict(zip(schema.targets, scores.tolist(), strict=True)),
                    "mean": float(scores.sum() / len(scores)),
                }
            )
    return entries


def _scored_rows(data: RunData) -> NDArray[np.float32]:
    """Raw scored rows (rows, F) of the selection sequences, in the order of `Outputs.rows`."""
    dataset, index, warmup = data.dataset, data.partition.select, data.dataset.schema.warmup_steps
    raw = dataset.features(index)[:][:, warmup:]
    if dataset.schema.variable_length:
        there: NDArray[np.float32] = raw[~np.isnan(dataset.targets(index)[:][:, warmup:, 0])]
        return there
    return raw.reshape(-1, raw.shape[-1])


def _sample(sequences: Sequences) -> NDArray[np.float32]:
    """Evenly spread rows (n, F), at most about `SAMPLE`."""
    features = sequences.features
    rows = features.reshape(-1, features.shape[-1])
    if sequences.schema.variable_length:
        rows = features[~np.isnan(sequences.targets[..., 0])]
    return np.ascontiguousarray(rows[:: max(1, len(rows) // SAMPLE)])
