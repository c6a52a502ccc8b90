"""Configurations as models, each predicting sequences that its runs were not trained on.

A run on one fold has trained on all the others, so weights that are fitted to its predictions there would reward what
it has memorised. Together the runs of a configuration on all folds predict every sequence without having seen it
(stacked generalisation, Wolpert 1992).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lobmodels.checkpoint import Checkpoint
from lobmodels.data import Dataset
from lobmodels.data.splits import Indices
from lobmodels.ensemble import blend, scale
from lobmodels.ensemble.predictions import predict_held_out
from lobmodels.errors import BundleError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OutOfFold:
    """K configurations, and what their runs predict for n sequences that these have not seen."""

    groups: tuple[tuple[int, ...], ...]  # of each configuration: places of its runs among the members
    index: Indices  # (n,) of the sequences, counted through both files
    predictions: list[NDArray[np.float32]]  # K arrays (n, S, targets), on the members' common scale
    targets: NDArray[np.float32]

    def fitted(self, how: str) -> Floats:
        """Weights (members, targets), one of `blend.FITTED`: each configuration's weight, shared by its runs."""
        weights = blend.fit(how, self.predictions, self.targets)  # (K, targets)
        found = np.zeros((sum(map(len, self.groups)), weights.shape[1]))
        for weight, places in zip(weights, self.groups, strict=True):
            found[list(places)] = weight / len(places)
        return found


def out_of_fold(
    members: Sequence[Checkpoint], dataset: Dataset, progress: Callable[[int, int], None] | None = None
) -> OutOfFold:
    """Predict with each run the sequences that it held out; a configuration's runs on one fold are averaged.

    The sequences are those that every configuration can predict so. Raises `BundleError` where there are none.
    """
    stds = scale.spreads(members)
    factors = scale.factors(stds, blend.uniform(len(members), len(dataset.schema.targets)))
    groups = _by_configuration(members)
    held = [dataset.partition(member.rule).select for member in members]
    index = _common([np.unique(np.concatenate([held[k] for k in places])) for places in groups])
    if not len(index):
        raise BundleError(
            "no sequence is held out by a run of every configuration, and weights can only be fitted there: use "
            "uniform weights, or repeat the configurations on all folds"
        )
    schema = dataset.schema
    shape = (len(index), schema.scored_steps, len(schema.targets))
    predictions, done = [], 0
    for places in groups:
        total, count = np.zeros(shape, np.float32), np.zeros(len(index), np.float32)
        for k in places:
            there = np.isin(index, held[k])
            ours = predict_held_out(members[k], dataset, held[k])[np.isin(held[k], index)]
            total[there] += ours * factors[k].astype(np.float32)
            count[there] += 1
            done += 1
            if progress is not None:
                progress(done, len(members))
        predictions.append(total / count[:, None, None])
    targets = dataset.targets(index)[:][:, schema.warmup_steps :]
    return OutOfFold(groups, index, predictions, targets)


def _by_configuration(members: Sequence[Checkpoint]) -> tuple[tuple[int, ...], ...]:
    groups: dict[str, list[int]] = {}
    for k, member in enumerate(members):
        groups.setdefault(member.config.key(), []).append(k)
    return tuple(map(tuple, groups.values()))


def _common(parts: Sequence[Indices]) -> Indices:
    found = parts[0]
    for part in parts[1:]:
        found = np.intersect1d(found, part)
    return found
