"""How well a linear model of one row forecasts the targets, and how much it depends on each group of columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lobmodels.data import Sequences
from lobmodels.inputs import available_groups
from lobmodels.profile.chunks import Chunk, column_groups, map_chunks
from lobmodels.profile.importance import Importance, Scores, importance, scores_of, sequence_sums
from lobmodels.schema import Schema

Array = NDArray[np.float64]
PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # per row, on standardised columns
TRAIN_SEQUENCES = 1500  # the train score is taken on this many, evenly spaced
RAW, ALL = "raw columns", "all features"


@dataclass(frozen=True)
class Ridge:
    """A linear forecast from some columns of one row: `x[columns] @ weights + intercept`."""

    name: str
    groups: tuple[str, ...]
    columns: tuple[int, ...]
    weights: Array  # (F, K), zero outside `columns`
    intercept: Array  # (K,)
    penalties: tuple[float, ...]  # chosen per target by cross-validation over train sequences


@dataclass(frozen=True)
class RidgeScores:
    """A ridge on train rows it was fitted on and on valid rows."""

    ridge: Ridge
    train: Scores
    valid: Scores


@dataclass(frozen=True)
class RidgeProfile:
    """Ridge models over growing sets of columns; permutation importance of the groups of two of them."""

    scores: list[RidgeScores]
    importance: dict[str, list[Importance]]  # model name -> its groups, on all valid sequences


def profile_ridges(train: Sequences, valid: Sequences, gram: Array) -> RidgeProfile:
    """Fit on the normal equations of `gram` (folds, F+K+1, F+K+1), score on both files."""
    ridges = fit_ridges(gram, train.schema)
    examined = [ridge for ridge in ridges if ridge.name in (RAW, ALL)]
    parts = {ridge.name: _parts(ridge, train.schema) for ridge in examined}
    some = np.unique(np.linspace(0, len(train) - 1, min(len(train), TRAIN_SEQUENCES)).astype(np.int64))
    train_target = train.targets[some, train.schema.warmup_steps :]
    on_train = {
        ridge.name: scores_of(sequence_sums(forecast, train_target))
        for ridge, forecast in zip(ridges, _predict(train, ridges, some), strict=True)
    }
    target = valid.targets[:, valid.schema.warmup_steps :]
    together = [*ridges, *(part for members in parts.values() for part in members)]
    forecasts = _predict(valid, together, np.arange(len(valid)))  # one pass for models and parts
    sums = {ridge.name: sequence_sums(forecast, target) for ridge, forecast in zip(ridges, forecasts, strict=False)}
    scores = [RidgeScores(ridge, on_train[ridge.name], scores_of(sums[ridge.name])) for ridge in ridges]
    named = dict(zip([ridge.name for ridge in ridges], forecasts, strict=False))
    pieces = iter(forecasts[len(ridges) :])
    importances = {
        name: _importances(named[name], sums[name], [(part, next(pieces)) for part in members], target)
        for name, members in parts.items()
    }
    return RidgeProfile(scores, importances)


def fit_ridges(gram: Array, schema: Schema) -> list[Ridge]:
    """Models of the raw columns, of them with each feature group, and of everything."""
    groups, targets = column_groups(schema), len(schema.targets)
    raw = tuple(schema.column_groups)
    derived = available_groups(schema)
    sets = [(RAW, raw), *((f"raw + {group}", (*raw, group)) for group in derived), (ALL, (*raw, *derived))]
    return [
        fit_ridge(name, members, [j for group in members for j in groups[group]], gram, targets)
        for name, members in sets
    ]


def fit_ridge(name: str, groups: tuple[str, ...], columns: list[int], gram: Array, targets: int) -> Ridge:
    """Penalty per target by cross-validation over the folds of `gram`, then the fit on all of them."""
    features = gram.shape[1] - targets - 1
    outer = [*columns, *range(features, gram.shape[1])]
    part = gram[:, outer][:, :, outer]  # (folds, C + K + 1, C + K + 1)
    total = part.sum(0)
    loss = np.zeros((len(PENALTIES), targets))
    for fold in range(len(part)):
        if part[fold, -1, -1] in (0, total[-1, -1]):  # fewer chunks than folds
            continue
        for i, penalty in enumerate(PENALTIES):
            w, a = _solve(total - part[fold], penalty, targets)
            loss[i] += [_squared_error(part[fold], w, a, k, targets) for k in range(targets)]
    chosen = loss.argmin(0) if loss.any() else np.full(targets, 2)
    weights, intercept = np.zeros((features, targets)), np.zeros(targets)
    for k, i in enumerate(chosen):
        w, a = _solve(total, PENALTIES[i], targets)
        weights[columns, k], intercept[k] = w[:, k], a[k]
    return Ridge(name, groups, tuple(columns), weights, intercept, tuple(PENALTIES[i] for i in chosen))


def _solve(gram: Array, penalty: float, targets: int) -> tuple[Array, Array]:
    """Weights (C, K) and intercepts (K,) of the ridge on standardised columns, in units of the raw ones."""
    count = gram[-1, -1]
    mean = gram[-1, :-1] / count
    covariance = gram[:-1, :-1] / count - np.outer(mean, mean)
    columns = len(mean) - targets
    std = np.sqrt(np.maximum(covariance.diagonal()[:columns], 0))
    std = np.where(std < 1e-8, 1.0, std)
    inner = covariance[:columns, :columns] / np.outer(std, std) + penalty * np.eye(columns)
    w = np.linalg.solve(inner, covariance[:columns, columns:] / std[:, None]) / std[:, None]
    return w, mean[columns:] - mean[:columns] @ w


def _squared_error(gram: Array, w: Array, a: Array, k: int, targets: int) -> float:
    """Sum of (y_k - x w_k - a_k)² over the rows that `gram` sums."""
    residual = np.concatenate([-w[:, k], np.eye(targets)[k], [-a[k]]])
    return float(residual @ gram @ residual)


def _predict(sequences: Sequences, ridges: list[Ridge], indices: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    """Forecasts (n, scored, K) of each ridge for the sequences at `indices`."""
    weights = torch.from_numpy(np.concatenate([ridge.weights for ridge in ridges], axis=1))
    intercept = torch.from_numpy(np.concatenate([ridge.intercept for ridge in ridges]))
    warmup, k = sequences.schema.warmup_steps, len(sequences.schema.targets)

    def work(chunk: Chunk) -> NDArray[np.float32]:
        forecast = (chunk.features[:, warmup:] @ weights + intercept).float()  # (B, S, models * K)
        return forecast.unflatten(2, (-1, k)).permute(2, 0, 1, 3).contiguous().numpy()

    return list(np.concatenate(list(map_chunks(sequences, work, indices)), axis=1))


def _parts(ridge: Ridge, schema: Schema) -> list[Ridge]:
    """The summands of a linear forecast, one for each group of columns, without the intercept."""
    groups = {name: columns for name, columns in column_groups(schema).items() if name in ridge.groups}
    return [
        Ridge(name, (name,), tuple(columns), _only(ridge.weights, columns), np.zeros_like(ridge.intercept), ())
        for name, columns in groups.items()
    ]


def _importances(
    forecast: NDArray[np.float32],
    base: Array,
    parts: list[tuple[Ridge, NDArray[np.float32]]],
    target: NDArray[np.float32],
    seed: int = 0,
) -> list[Importance]:
    """Drop of the score when a group's columns come from another row: its summand is permuted, which is the same."""
    rng = np.random.default_rng(seed)
    found = []
    for ridge, part in parts:
        flat = part.reshape(-1, part.shape[2])
        moved = flat[rng.permutation(len(flat))].reshape(part.shape)
        found.append(importance(ridge.name, len(ridge.columns), base, [sequence_sums(forecast - part + moved, target)]))
    return sorted(found, key=lambda item: -item.drop.mean)


def _only(weights: Array, columns: list[int]) -> Array:
    kept = np.zeros_like(weights)
    kept[columns] = weights[columns]
    return kept
