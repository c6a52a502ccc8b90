"""What a member that runs as an ONNX graph costs: a plugin's network may be slower online than the fused ones."""

from __future__ import annotations

import time

import numpy as np

from lobmodels.checkpoint import Checkpoint
from lobmodels.ensemble.bundle import Bundle
from lobmodels.ensemble.onnx_export import is_fused, member_graph
from lobmodels.ensemble.runtime import GraphStep

STEPS, WARM = 400, 50


def graph_microseconds(bundle: Bundle) -> dict[str, float]:
    """Median microseconds a step, measured here, of each member that runs as a graph, by name; empty without any."""
    return {member.name: _measured(member) for member in bundle.members if not is_fused(member)}


def _measured(member: Checkpoint) -> float:
    step = GraphStep(member_graph(member))
    rows = np.random.default_rng(0).standard_normal((STEPS, len(member.pipeline.names))).astype(np.float32)
    taken = []
    for row in rows:
        started = time.perf_counter_ns()
        step.step(row)
        taken.append(time.perf_counter_ns() - started)
    return float(np.median(taken[WARM:])) / 1e3
