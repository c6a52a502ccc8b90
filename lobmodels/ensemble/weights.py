"""What makes weights an average of an ensemble's members: shape, sign, sum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lobmodels.checkpoint import Checkpoint
from lobmodels.errors import BundleError, Remedy


def valid_weights(members: Sequence[Checkpoint], weights: ArrayLike | None) -> NDArray[np.float64]:
    """(K, targets); uniform where there are none. Raises `BundleError` where they are no average of these members."""
    if not members:
        raise BundleError("an ensemble needs at least one member; finish a run first", remedy=Remedy.FINISH_RUN)
    names = [member.name for member in members]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise BundleError(f"members named twice: {', '.join(repeated)}; name each once and give it a larger weight")
    if len({member.schema for member in members}) > 1:
        raise BundleError("members were trained on data of different schemas; choose members of one study")
    targets = members[0].schema.targets
    values = np.full(len(members), 1 / len(members)) if weights is None else np.asarray(weights, dtype=np.float64)
    if values.shape not in {(len(members),), (len(members), len(targets))}:
        raise BundleError(f"weights of shape {values.shape} for {len(members)} members; one each, or one per target")
    if values.ndim == 1:
        values = np.repeat(values[:, None], len(targets), 1)
    check_weights(values, names, targets)
    return values


def check_weights(weights: NDArray[np.float64], names: list[str], targets: Sequence[str]) -> None:
    """Raise `BundleError` unless each column of `weights` (K, targets) is a weighted average over `names`."""
    for name, row in zip(names, weights, strict=True):
        if not np.isfinite(row).all() or (row < 0).any():
            raise BundleError(f"weight {row.tolist()} of {name}: weights are finite and not negative")
    sums = weights.sum(0)
    if (np.abs(sums - 1) > 1e-6).any():
        raise BundleError(f"weights sum to {sums.tolist()} for {' and '.join(targets)}; they must sum to 1")
