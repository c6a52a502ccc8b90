"""How far validation data lies from training data: column by column, and for a classifier that sees all columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lobmodels.distributions import auc, ks_of_parts

Rows = NDArray[np.float32]
CHANCE_DRAWS = 3
ADVERSARIAL_FOLDS = 5
ADVERSARIAL_ROWS = 100_000  # of each file
CLIP = 5.0  # standard deviations; without it the squares of a few outliers would decide the classifier


@dataclass(frozen=True)
class Adversarial:
    """Area under the ROC curve of telling valid from train, on sequences the classifier never saw; .5 is chance."""

    rows: float
    sequences: float


def ks_by_chance(train: Rows, owners: NDArray[np.int64], held_out: int, seed: int = 0) -> NDArray[np.float64]:
    """KS distance per column that `held_out` sequences of train itself show against the rest of it.

    The mean over a few draws of whole sequences: the distance to expect without any shift, with that many sequences.
    """
    rng = np.random.default_rng(seed)
    sequences = np.unique(owners)
    held_out = min(held_out, len(sequences) // 2)
    if held_out == 0:
        return np.zeros(train.shape[1])
    draws = [np.isin(owners, rng.choice(sequences, held_out, replace=False)) for _ in range(CHANCE_DRAWS)]
    return np.array([np.mean(ks_of_parts(train[:, j], draws)) for j in range(train.shape[1])])


def adversarial_auc(
    train: Rows, train_owners: NDArray[np.int64], valid: Rows, valid_owners: NDArray[np.int64]
) -> Adversarial:
    """How well a linear discriminant on standardised columns and their squares separates valid from train.

    Fitted on four fifths of the sequences, scored on the last, in turns; both files count the same. `rows` judges
    single rows, `sequences` the mean score over a sequence's rows.
    """
    train, train_owners = _thinned(train, train_owners)
    valid, valid_owners = _thinned(valid, valid_owners)
    mean, std = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
    std[std < 1e-8] = 1.0
    sides = [_Side.of((part - mean) / std, owners) for part, owners in ((train, train_owners), (valid, valid_owners))]
    by_row, by_sequence = [], []
    for fold in range(ADVERSARIAL_FOLDS):
        if any(side.counts[fold] in (0, side.counts.sum()) for side in sides):
            continue
        direction = _discriminant(*(side.without(fold) for side in sides))
        scores = [(side.z[fold] @ direction, side.owners[fold]) for side in sides]
        by_row.append(auc(scores[0][0], scores[1][0]))
        by_sequence.append(auc(*(_mean_by(owners, score) for score, owners in scores)))
    if not by_row:
        return Adversarial(float("nan"), float("nan"))
    return Adversarial(float(np.mean(by_row)), float(np.mean(by_sequence)))


@dataclass(frozen=True)
class _Side:
    """One file's rows, expanded, fold by fold, with each fold's sums."""

    z: list[Rows]  # per fold (S, 2F)
    owners: list[NDArray[np.int64]]
    counts: NDArray[np.float64]  # (folds,)
    sums: NDArray[np.float64]  # (folds, 2F)
    squares: NDArray[np.float64]  # (folds, 2F, 2F)

    @staticmethod
    def of(z: NDArray[np.float64], owners: NDArray[np.int64]) -> _Side:
        z32 = np.clip(z, -CLIP, CLIP).astype(np.float32)
        z32 = np.concatenate([z32, z32 * z32], axis=1)
        folds = [owners % ADVERSARIAL_FOLDS == fold for fold in range(ADVERSARIAL_FOLDS)]
        parts = [z32[fold] for fold in folds]
        return _Side(
            parts,
            [owners[fold] for fold in folds],
            np.array([float(len(part)) for part in parts]),
            np.array([part.sum(0, dtype=np.float64) for part in parts]),
            np.array([(part.T @ part).astype(np.float64) for part in parts]),
        )

    def without(self, fold: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and covariance of all folds but one."""
        count = self.counts.sum() - self.counts[fold]
        mean = (self.sums.sum(0) - self.sums[fold]) / count
        return mean, (self.squares.sum(0) - self.squares[fold]) / count - np.outer(mean, mean)


def _discriminant(
    a: tuple[NDArray[np.float64], NDArray[np.float64]], b: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> Rows:
    """Fisher's direction from sample a to sample b, given as (mean, covariance), both of the same weight."""
    within = (a[1] + b[1]) / 2
    within += np.eye(len(within)) * (1e-3 * np.trace(within) / len(within) + 1e-12)  # prices are nearly collinear
    return np.linalg.solve(within, b[0] - a[0]).astype(np.float32)


def _thinned(rows: Rows, owners: NDArray[np.int64]) -> tuple[Rows, NDArray[np.int64]]:
    step = -(-len(rows) // ADVERSARIAL_ROWS)
    return rows[::step], owners[::step]


def _mean_by(owners: NDArray[np.int64], values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean of `values` per owner."""
    _, where = np.unique(owners, return_inverse=True)
    return np.bincount(where, weights=values) / np.bincount(where)
