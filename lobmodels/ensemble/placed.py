"""The networks of a submission, which are its members, or several of one member that keeps several epochs.

The runtime knows networks and what each weighs, nothing of runs: an epoch of a run weighs what the run weighs, times
its share of the run's prediction. All else speaks of runs: what is chosen, weighed, scaled and compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.checkpoint import Checkpoint
from lobmodels.networks.mixture import KeptEpoch

RUN = "run"  # of a network's entry in the manifest, where its run has several
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Placed:
    """One network of a submission, what it weighs per target and what its last layer was multiplied by, (targets,).

    `run` says which epoch of which run it is, and is None where the run has no other.
    """

    network: Checkpoint
    weight: Floats
    factor: Floats
    run: dict[str, Any] | None


def placed(members: Sequence[Checkpoint], weights: Floats, factors: Floats) -> tuple[Placed, ...]:
    """The networks of `members` with weights and factors (K, targets). An epoch that weighs nothing is left out."""
    found = []
    for member, weight, factor in zip(members, weights, factors, strict=True):
        if not member.epochs:
            found.append(Placed(member, weight, factor, None))
            continue
        for single, kept in zip(member.singles, member.epochs, strict=True):
            if any(weight * kept.shares > 0):
                run = {"name": member.name, "epoch": kept.epoch, "shares": list(kept.shares), "weight": weight.tolist()}
                found.append(Placed(single, weight * kept.shares, factor, run))
    return tuple(found)


def by_run(entries: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Places of the networks of each run, by its name, from the members' entries in a manifest."""
    found: dict[str, list[int]] = {}
    for place, entry in enumerate(entries):
        found.setdefault(entry[RUN]["name"] if RUN in entry else entry["name"], []).append(place)
    return found


def weights_of(entries: Sequence[Mapping[str, Any]]) -> tuple[Floats, Floats]:
    """Weights and factors (K, targets) of the runs in a manifest's entries."""
    first = [entries[places[0]] for places in by_run(entries).values()]
    weights = [entry[RUN]["weight"] if RUN in entry else entry["weight"] for entry in first]
    factors = [entry.get("scale", [1.0, 1.0]) for entry in first]  # the first versions had none
    return np.array(weights, np.float64), np.array(factors, np.float64)


def joined(networks: Sequence[Checkpoint], entries: Sequence[Mapping[str, Any]]) -> list[Checkpoint]:
    """The runs that the `networks` of a manifest's entries belong to. Epochs that weigh nothing there are missing."""
    found = []
    for name, places in by_run(entries).items():
        first = networks[places[0]]
        if RUN not in entries[places[0]]:
            found.append(first)
            continue
        runs = [entries[place][RUN] for place in places]
        epochs = tuple(
            KeptEpoch(run["epoch"], networks[place].weights, tuple(run["shares"]))
            for run, place in zip(runs, places, strict=True)
        )
        found.append(dataclasses.replace(first, name=name, weights={}, epochs=epochs))
    return found
