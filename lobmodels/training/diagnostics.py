"""How a run scores where validation differs most from training: by percentile buckets of the most shifted features."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.bootstrap import scores_from, sequence_statistics
from lobmodels.distributions import ks_by_column
from lobmodels.metric import metric_of, score
from lobmodels.schema import Schema
from lobmodels.training.outputs import Outputs

if TYPE_CHECKING:
    from lobmodels.data import Dataset, Sequences
    from lobmodels.training.batches import RunData

FEATURES = 5  # how many of the most shifted features are looked at
PERCENTILES = (0, 20, 40, 60, 80, 100)
KEPT = 8  # divisions of the data whose buckets are remembered: some megabytes each at full size
CHUNK = 1 << 16  # rows whose sums are in memory at once
SAMPLE = 200_000  # rows a distribution is estimated from: a KS distance to about .003

Rows = NDArray[np.float32]  # (R, K)

_shifts: dict[str, list[tuple[int, float]]] = {}  # by the data set's fingerprint: all columns with their KS distance
_buckets: dict[tuple[str, str], list[Buckets]] = {}  # by the fingerprint and the rule that divides the sequences
_measuring = threading.RLock()  # several runs of a process may end at once


@dataclass(frozen=True)
class Buckets:
    """A feature's percentile buckets, which hold equal shares of the selection rows."""

    feature: str
    ks: float  # train rows against valid rows
    edges: NDArray[np.floating]  # one more than there are buckets
    of_rows: NDArray[np.int8]  # (R,), from 0


def most_shifted(dataset: Dataset, count: int = FEATURES) -> list[tuple[int, float]]:
    """Columns with the largest KS distance between train and valid rows: (column, distance), largest first.

    Computed once a data set and process: it takes seconds at full size, and every run of a worker asks.
    """
    with _measuring:
        if dataset.fingerprint not in _shifts:
            _shifts.clear()  # a process works on one data set
            train, valid = (_sample(s) for s in (dataset.train, dataset.valid))
            distances = enumerate(ks_by_column(train, valid).tolist())
            _shifts[dataset.fingerprint] = sorted(distances, key=lambda pair: -pair[1])
        return _shifts[dataset.fingerprint][:count]


def buckets(data: RunData) -> list[Buckets]:
    """Of the most shifted features. Computed once a data set, division and process, like them."""
    key = (data.fingerprint, json.dumps(data.rule.document()))
    with _measuring:
        if key not in _buckets:
            shifted, raw = most_shifted(data.dataset), _scored_rows(data)
            if len(_buckets) >= KEPT:
                _buckets.clear()
            _buckets[key] = [_of_column(raw[:, i], data.dataset.schema.features[i], ks) for i, ks in shifted]
        return _buckets[key]


def _of_column(values: NDArray[np.float32], feature: str, ks: float) -> Buckets:
    edges = np.percentile(values, PERCENTILES)
    found = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(PERCENTILES) - 2)
    return Buckets(feature, ks, edges, found.astype(np.int8))


def shift_buckets(selected: Outputs, data: RunData) -> list[dict[str, Any]]:
    """Scores on selection rows, whose outputs are `selected`, by percentile bucket of the most shifted features.

    One entry a bucket: feature, ks (train against valid), bucket (from 0), low and high edge, rows, score of each
    target, mean.
    """
    schema, found = data.dataset.schema, buckets(data)
    prediction, target = (part.numpy() for part in selected.rows())
    entries = []
    for feature, scores in zip(found, _scores(prediction, target, found, schema), strict=True):
        rows = np.bincount(feature.of_rows, minlength=len(scores))
        for i, score_ in enumerate(scores):
            entries.append(
                {
                    "feature": feature.feature,
                    "ks": feature.ks,
                    "bucket": i,
                    "low": float(feature.edges[i]),
                    "high": float(feature.edges[i + 1]),
                    "rows": int(rows[i]),
                    **dict(zip(schema.targets, score_.tolist(), strict=True)),
                    "mean": float(score_.sum() / len(score_)),
                }
            )
    return entries


def _scores(prediction: Rows, target: Rows, found: list[Buckets], schema: Schema) -> list[NDArray[np.float64]]:
    """Scores (buckets, K) of rows (R, K), for each of the features; 0 in a bucket without rows.

    The sums that give them are those of each row, added up for all features at once; a plugin's metric has none, and
    reads the rows of each bucket.
    """
    count, targets = len(PERCENTILES) - 1, prediction.shape[1]
    if metric_of(schema).whole is not None:
        return [
            np.stack(
                [
                    score(prediction[rows], target[rows], schema) if rows.any() else np.zeros(targets)
                    for rows in (feature.of_rows == i for i in range(count))
                ]
            )
            for feature in found
        ]
    sums = np.zeros((len(found), count, 6 * targets))
    for first in range(0, len(prediction), CHUNK):
        part = slice(first, first + CHUNK)
        each = sequence_statistics(prediction[part, None], target[part, None], schema).reshape(-1, 6 * targets)
        for i, feature in enumerate(found):
            sums[i] += (feature.of_rows[part, None] == np.arange(count)).astype(np.float64).T @ each
    shaped = sums.reshape(len(found), count, 6, targets)
    held = shaped[:, :, 0] > 0  # the sum of weights: without it there is no score
    return list(np.where(held, scores_from(np.where(held[:, :, None], shaped, 1.0), schema), 0.0))


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
