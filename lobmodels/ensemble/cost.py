"""What runs as an ONNX graph costs online: a plugin's networks and features, which are slower than the fused ones."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.checkpoint import Checkpoint
from lobmodels.ensemble.bundle import Bundle
from lobmodels.ensemble.onnx_export import features_graph, is_fused, member_graph
from lobmodels.ensemble.runtime import GraphStep
from lobmodels.own_features import OwnFeatures

STEPS, WARM = 400, 50


def graph_microseconds(bundle: Bundle) -> dict[str, float]:
    """Median microseconds a step, measured here, of each member and feature group that runs as a graph, by name; empty
    without any."""
    groups = {f"features {group.name}": _of_features(group) for group in bundle.inputs.own}
    networks = (place.network for place in bundle.networks)
    return groups | {network.name: _of_member(network) for network in networks if not is_fused(network)}


def _of_member(member: Checkpoint) -> float:
    rows = np.random.default_rng(0).standard_normal((STEPS, len(member.pipeline.names))).astype(np.float32)
    return _measured(GraphStep(member_graph(member)), rows)


def _of_features(group: OwnFeatures) -> float:
    rows = np.random.default_rng(0).standard_normal((STEPS, len(group.columns.reads)))
    return _measured(GraphStep(features_graph(group), "features"), rows)


def _measured(step: GraphStep, rows: NDArray[Any]) -> float:
    taken = []
    for row in rows:
        started = time.perf_counter_ns()
        step.step(row)
        taken.append(time.perf_counter_ns() - started)
    return float(np.median(taken[WARM:])) / 1e3
