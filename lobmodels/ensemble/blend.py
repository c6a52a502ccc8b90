"""Weights of an ensemble's members: uniform by default, else fitted on predictions or given; always an average.

The score of a blend depends on its members through few numbers: the weighted covariances of the predictions with each
other and with the target (the metric's weights, `lobmodels.metric`). They are summed once per fold of sequences; every
fit afterwards is arithmetic on K x K matrices. The fits ignore the clipping at ±6; every reported score applies it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.ensemble.weights import check_weights
from lobmodels.errors import BundleError
from lobmodels.metric import WEIGHT_FLOOR
from lobmodels.schema import Schema

FITTED = ("optimised", "shrunk", "greedy")  # need predictions and targets
FOLDS = 5
SHRINKAGES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
GREEDY_ROUNDS = 20
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Weighted sums over scored rows of one target: of 1, p, y, p p', p y, y² with w = max(|y|, 1e-8)."""

    weight: float
    prediction: Floats  # (K,)
    target: float
    products: Floats  # (K, K)
    cross: Floats  # (K,)
    square: float

    def __add__(self, other: Moments) -> Moments:
        return Moments(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def centred(self) -> tuple[Floats, Floats, float]:
        """Covariances of the predictions (K, K), with the target (K,), and the target's variance."""
        p, y = self.prediction / self.weight, self.target / self.weight
        return (
            self.products / self.weight - np.outer(p, p),
            self.cross / self.weight - p * y,
            self.square / self.weight - y * y,
        )

    def correlation(self, weights: Floats) -> float:
        """Weighted Pearson correlation of the blend `weights` (K,) with the target; 0 where one does not vary."""
        covariance, cross, variance = self.centred()
        spread = float(weights @ covariance @ weights) * variance
        return float(weights @ cross) / spread**0.5 if spread > 0 else 0.0


def moments(predictions: Sequence[NDArray[Any]], targets: NDArray[Any]) -> list[Moments]:
    """Moments of each target from the members' predictions, K arrays (N, S, targets), and targets of that shape."""
    found = []
    for j in range(targets.shape[-1]):
        total: Moments | None = None
        for i in range(len(targets)):  # a sequence at a time: double precision of a few, not of all
            y = targets[i, :, j].astype(np.float64)
            p = np.stack([member[i, :, j] for member in predictions]).astype(np.float64)  # (K, S)
            w = np.maximum(np.abs(y), WEIGHT_FLOOR)
            wp = w * p
            part = Moments(float(w.sum()), wp.sum(1), float(w @ y), wp @ p.T, wp @ y, float(w @ (y * y)))
            total = part if total is None else total + part
        assert total is not None, "moments need sequences"
        found.append(total)
    return found


def uniform(count: int, targets: int) -> Floats:
    """Equal weights of `count` members for each of `targets` targets."""
    return np.full((count, targets), 1 / count)


def by_family(families: Sequence[str], shares: dict[str, float], targets: Sequence[str]) -> Floats:
    """(K, targets): each family's share, split evenly among its members. Raises `BundleError` for what does not fit."""
    unknown, silent = sorted(set(shares) - set(families)), sorted(set(families) - set(shares))
    if unknown:
        raise BundleError(f"weights name {', '.join(unknown)}, but the members are {', '.join(sorted(set(families)))}")
    if silent:
        raise BundleError(f"weights do not say what {', '.join(silent)} weighs; give it a share, 0 to leave it out")
    values = [shares[family] / families.count(family) for family in families]
    return _checked(_for_each(np.array(values), len(targets)), list(families), targets)


def listed(text: str, names: Sequence[str], targets: Sequence[str]) -> Floats:
    """(K, targets) of `0.5,0.3,0.2`, in the members' order, or of `0.5,0.5/0.2,0.8`, one list per target.

    Raises `BundleError` for text that is no such list, or lists of another length.
    """
    parts = text.split("/")
    try:
        columns = [[float(value) for value in part.split(",")] for part in parts]
    except ValueError:
        raise BundleError(
            f"weights {text!r}: give uniform, optimised, shrunk, greedy, numbers (0.5,0.5), families "
            "(gru=0.7,gru_attention=0.3) or a JSON file"
        ) from None
    if len(parts) not in (1, len(targets)) or any(len(column) != len(names) for column in columns):
        counts = " and ".join(str(len(column)) for column in columns)
        raise BundleError(f"weights {text!r} are {counts} numbers for {len(names)} members: {', '.join(names)}")
    if len(columns) == 1:
        columns *= len(targets)
    return _checked(np.array(columns).T, names, targets)


def from_json(path: Path, names: Sequence[str], targets: Sequence[str], variant: str | None = None) -> Floats:
    """(K, targets) from a file: {name: weight}, {name: [w0, w1]}, {target: {name: weight}}, or the `variant` of an
    optimal_weights.json. Members that the file leaves out weigh 0.

    Raises `BundleError` for a file that holds something else, or names that are no member.
    """
    document = _weights_document(path, variant)
    per_target = [document[name] for name in targets] if set(document) == set(targets) else None
    unknown = sorted(set(named_in(path, targets, variant)) - set(names))
    if unknown:
        raise BundleError(f"{path} names {', '.join(unknown)}, but the members are {', '.join(names)}")
    try:
        if per_target:
            rows = [[float(part.get(name, 0.0)) for part in per_target] for name in names]
        else:
            rows = [_one_each(document.get(name, 0.0), len(targets)) for name in names]
    except (TypeError, ValueError):
        raise BundleError(f"{path}: a weight is a number, or a list of one for each of {', '.join(targets)}") from None
    return _checked(np.array(rows), names, targets)


def named_in(path: Path, targets: Sequence[str], variant: str | None = None) -> tuple[str, ...]:
    """Names of the members in such a file, in its order. Raises `BundleError` for a file that holds something else."""
    document = _weights_document(path, variant)
    parts = [document[name] for name in targets] if set(document) == set(targets) else [document]
    if not all(isinstance(part, dict) for part in parts):
        raise BundleError(f"{path} holds no weights for {', '.join(targets)}: expected an object of members for each")
    return tuple(dict.fromkeys(str(name) for part in parts for name in part))


def _one_each(value: Any, targets: int) -> list[float]:
    """A member's weight for each target from one number or one list. Raises `ValueError` or `TypeError`."""
    numbers = np.asarray(value, float)
    if numbers.shape not in ((), (targets,)):
        raise ValueError(numbers.shape)
    return [float(number) for number in np.broadcast_to(numbers, targets)]


def _weights_document(path: Path, variant: str | None) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"weights {path} cannot be read: {error}") from None
    if isinstance(document, dict) and "variants" in document:
        variants = document["variants"]
        if variant not in variants:
            message = f"{path} holds the variants {', '.join(variants)}; say which: weights={path}#optimised"
            raise BundleError(message, arguments=["weights"])
        document = variants[variant]["weights"]
    if not isinstance(document, dict) or not document:
        raise BundleError(f"{path} holds no weights: expected an object of member names and numbers")
    return document


def optimised(parts: Sequence[Moments]) -> Floats:
    """(K, targets): per target the weights on the simplex that correlate best.

    The correlation does not depend on the weights' scale, so the best direction minimises w'Cw - 2c'w over w >= 0,
    a convex problem that coordinate descent solves; uniform where nothing correlates.
    """
    return np.stack([_best_direction(part) for part in parts], 1)


def shrunk(folds: Sequence[Sequence[Moments]]) -> tuple[Floats, float]:
    """Optimised weights drawn towards uniform, (K, targets), by the amount that scores best across `folds` of sequences
    (moments per fold and target); returned with them. 1 is uniform."""
    count = len(folds[0][0].cross)
    even = uniform(count, len(folds[0]))
    held_out = []
    for i in range(len(folds)):
        fitted = optimised(total([fold for k, fold in enumerate(folds) if k != i]))
        held_out.append(score([(1 - a) * fitted + a * even for a in SHRINKAGES], folds[i]))
    means = np.mean(held_out, 0)
    amount = max(a for a, mean in zip(SHRINKAGES, means, strict=True) if mean >= means.max() - 1e-12)
    return (1 - amount) * optimised(total(folds)) + amount * even, amount


def greedy(parts: Sequence[Moments], rounds: int = GREEDY_ROUNDS) -> Floats:
    """(K, targets), equal for all targets: members are added one at a time, with repetition, each the one that helps
    most; the best of all prefixes (Caruana et al. 2004)."""
    count = len(parts[0].cross)
    counts = np.zeros(count)
    best, best_score = uniform(count, len(parts)), -np.inf
    for _ in range(rounds):
        options = [_for_each(_normalised(counts + unit), len(parts)) for unit in np.eye(count)]
        scores = score(options, parts)
        k = int(np.argmax(scores))
        counts[k] += 1
        if scores[k] > best_score:
            best, best_score = options[k], scores[k]
    return best


def score(candidates: Sequence[Floats], parts: Sequence[Moments]) -> list[float]:
    """Mean correlation over targets of each candidate (K, targets)."""
    return [float(np.mean([part.correlation(weights[:, j]) for j, part in enumerate(parts)])) for weights in candidates]


def folds_of(predictions: Sequence[NDArray[Any]], targets: NDArray[Any], count: int = FOLDS) -> list[list[Moments]]:
    """Moments of `count` interleaved folds of the sequences (fewer where there are fewer)."""
    count = min(count, len(targets))
    return [moments([p[i::count] for p in predictions], targets[i::count]) for i in range(count)]


def fit(name: str, predictions: Sequence[NDArray[Any]], targets: NDArray[Any]) -> Floats:
    """Weights (K, targets) of the fitted blend `name`. Raises `BundleError` for a name that is not in `FITTED`.

    They are fitted for the weighted Pearson correlation of sequences of one length (`require_fittable`).
    """
    folds = folds_of(predictions, targets)
    if name == "optimised":
        return optimised(total(folds))
    if name == "greedy":
        return greedy(total(folds))
    if name == "shrunk":
        return shrunk(folds)[0] if len(folds) > 1 else uniform(len(predictions), targets.shape[-1])
    raise BundleError(f"weights {name!r}: the fitted ones are {', '.join(FITTED)}")


def require_fittable(what: str, schema: Schema) -> None:
    """Raise `BundleError` where the data of `schema` is scored otherwise than the fits of this module assume."""
    if schema.metric != "weighted_pearson" or schema.variable_length:
        reason = "sequences of different lengths" if schema.variable_length else f"the metric {schema.metric}"
        raise BundleError(
            f"{what} knows the metric weighted_pearson and sequences of one length, not {reason}: use uniform weights",
            arguments=["weights"],
        )


def combine(predictions: Sequence[NDArray[Any]], weights: Floats) -> Floats:
    """The blend's predictions, shaped like one member's. The members are on one scale (`lobmodels.ensemble.scale`),
    or `weights` carry their factors."""
    total = np.zeros(predictions[0].shape)
    for member, weight in zip(predictions, weights, strict=True):
        total += weight * member
    return total


def _best_direction(part: Moments, sweeps: int = 10_000, tolerance: float = 1e-12) -> Floats:
    covariance, cross, _ = part.centred()
    scale = np.sqrt(np.maximum(np.diag(covariance), 0))
    useful = scale > 1e-12 * max(scale.max(), 1e-300)
    unit = np.where(useful, scale, 1.0)
    matrix, aim = covariance / np.outer(unit, unit), np.where(useful, cross / unit, -1.0)
    weights = np.zeros(len(aim))
    for _ in range(sweeps):
        moved = 0.0
        for i in range(len(aim)):
            if not useful[i]:
                continue
            new = max(0.0, weights[i] + (aim[i] - matrix[i] @ weights) / matrix[i, i])
            moved, weights[i] = max(moved, abs(new - weights[i])), new
        if moved < tolerance * max(1e-300, np.abs(weights).max()):
            break
    weights = weights / unit
    return _normalised(weights) if weights.sum() > 0 else np.full(len(aim), 1 / len(aim))


def total(folds: Sequence[Sequence[Moments]]) -> list[Moments]:
    """Moments of all folds together."""
    totals = list(folds[0])
    for fold in folds[1:]:
        totals = [a + b for a, b in zip(totals, fold, strict=True)]
    return totals


def _normalised(weights: Floats) -> Floats:
    return weights / weights.sum()


def _for_each(weights: Floats, targets: int) -> Floats:
    """The same weights (K,) for each target: (K, targets)."""
    return np.repeat(weights[:, None], targets, 1)


def _checked(weights: Floats, names: Sequence[str], targets: Sequence[str]) -> Floats:
    check_weights(weights, list(names), targets)
    return weights
