"""The ensemble as one ONNX graph, raw row and state in, prediction and next state out, for hosts without Python.

torch's exporter writes it from `forward_step` of the members' networks and from the feature definitions, which use
operators alone, so no network is described a second time. The graph is checked in onnxruntime against the runtime
before it is kept.

Inputs: `row` (columns,) float64, `step` () float64, the step in its sequence, and `state.*`, zeros before a sequence.
Outputs: `prediction` (2,) float64 and `next.*`, to be fed back as `state.*`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lobmodels import features
from lobmodels.ensemble.bundle import Bundle
from lobmodels.ensemble.onnx_export import MISSING, export_onnx
from lobmodels.ensemble.runtime import LIMIT
from lobmodels.errors import BundleError
from lobmodels.files import write_atomically
from lobmodels.inputs import InputPipeline
from lobmodels.networks import State

TOLERANCE = 1e-5
CHECKED_STEPS = 40


def write_graph(path: Path, bundle: Bundle) -> Path:
    """Write the checked graph of `bundle` to `path`. Raises `BundleError` where onnx is not installed, or where
    onnxruntime does not agree with the runtime."""
    data = graph_bytes(bundle)
    difference = check(data, bundle)
    if not difference <= TOLERANCE:
        raise BundleError(f"the ONNX graph differs from the runtime by {difference:.1e}, more than {TOLERANCE:.0e}")
    write_atomically(path, data)
    return path


def graph_bytes(bundle: Bundle) -> bytes:
    """The graph as a serialised ONNX model. Raises `BundleError` where torch cannot write it."""
    step = OnlineStep(bundle).eval()
    # Copies: a network may use one tensor of zeros for two of its states.
    states = {f"member{k}.{i}": x.clone() for k, state in enumerate(step.initial) for i, x in enumerate(state)}
    states |= {f"features{k}.{i}": x.clone() for k, state in enumerate(step.own_initial) for i, x in enumerate(state)}
    groups = (group for pipeline in bundle.inputs.distinct for group in pipeline.groups if group in features.GROUPS)
    history = features.history_of(groups)
    columns = len(bundle.schema.features)
    past = torch.zeros(history - 1, columns, dtype=torch.float64)
    inputs = (torch.zeros(columns, dtype=torch.float64), torch.zeros((), dtype=torch.float64), past, *states.values())
    names = ["rows", *states]
    inputs_named = ["row", "step", *(f"state.{name}" for name in names)]
    try:
        return export_onnx(step, inputs, inputs_named, ["prediction", *(f"next.{name}" for name in names)])
    except ImportError:
        raise BundleError(MISSING, arguments=["onnx"]) from None


class OnlineStep(nn.Module):
    """The whole online step of a bundle, as the exporter reads it."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.networks = nn.ModuleList(place.network.network() for place in bundle.networks)
        self.inputs = bundle.inputs
        self.weights = torch.from_numpy(np.stack([place.weight for place in bundle.networks]))  # (M, targets)
        self.initial: list[State] = [network.initial_state(1) for network in self.networks]  # type: ignore[operator]
        self.own_initial = [group.initial_state(1) for group in self.inputs.own]

    def forward(self, row: Tensor, step: Tensor, past: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Row (F,), step (), the rows before it (history - 1, F), states of members, then of plugins' features; the
        prediction (targets,), the next rows, the next states."""
        clean = torch.where(torch.isfinite(row), row, past[0]).clamp(-LIMIT, LIMIT)
        history = torch.cat([clean.unsqueeze(0), past])
        members = sum(map(len, self.initial))
        own, own_following = self._own(clean, states[members:])
        pairs = zip(self.inputs.distinct, self.inputs.own_indices, strict=True)
        inputs = [_network_input(pipeline, history, step, [own[i] for i in places]) for pipeline, places in pairs]
        following, rest = [history[:-1]], list(states[:members])
        prediction = (0.0 * step).expand(
            self.weights.shape[1]
        )  # the exporter drops an input that nothing reads; hosts give `step`
        for k, network in enumerate(self.networks):
            before, rest = tuple(rest[: len(self.initial[k])]), rest[len(self.initial[k]) :]
            y, state = network.forward_step(inputs[self.inputs.indices[k]], before)  # type: ignore[operator]
            prediction = prediction + self.weights[k] * y[0].double()
            following += state
        return (prediction, *following, *own_following)

    def _own(self, row: Tensor, states: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """Features (gives,) of each plugin's group from the row (F,), and their next states."""
        found: list[Tensor] = []
        following: list[Tensor] = []
        for group, initial in zip(self.inputs.own, self.own_initial, strict=True):
            before, states = states[: len(initial)], states[len(initial) :]
            read = [self.inputs.distinct[0].schema.features.index(name) for name in group.columns.reads]
            features_, after = group.step(row[read].unsqueeze(0), before)
            found.append(features_[0])
            following += after
        return found, following


def _network_input(pipeline: InputPipeline, history: Tensor, step: Tensor, own: list[Tensor]) -> Tensor:
    """What a network reads, (1, inputs) float32, from the rows (history, F), the newest first, and from the features of
    plugins' groups."""
    rows, pieces = [_Book(row, pipeline.schema.places) for row in history], [history[0]]
    for group in (name for name in pipeline.groups if name in features.GROUPS):
        out: list[Any] = [None] * len(features.NAMES[group])
        features.GROUPS[group](rows, step, out)
        pieces.append(torch.stack(out))
    x = torch.cat([*pieces, *own])  # (F,)
    if pipeline.normalizer is not None:
        x = (x - torch.from_numpy(pipeline.normalizer.mean)) / torch.from_numpy(pipeline.normalizer.std)
    return x.float().unsqueeze(0)


class _Book:
    """One row (F,) as the definitions of features index it: by the challenge's column numbers."""

    def __init__(self, row: Tensor, places: tuple[int, ...]) -> None:
        self.row, self.places = row, places

    def __getitem__(self, number: int) -> Tensor:
        return self.row[self.places[number]]


def check(data: bytes, bundle: Bundle) -> float:
    """Largest difference between the graph in onnxruntime and the numpy runtime, over noise and a fresh start."""
    session = open_session(data)
    predictor = bundle.predictor("numpy")
    rows = np.random.default_rng(0).standard_normal((CHECKED_STEPS, len(bundle.schema.features)))
    rows[3, 4 % rows.shape[1]] = np.nan
    largest = 0.0
    for start in (0, 7):
        state = initial_state(session)
        for t, row in enumerate(rows[start:]):
            prediction, state = step(session, row, t, state)
            expected = predictor.predict(0, t, True, row)
            assert expected is not None
            largest = max(largest, float(np.abs(prediction - expected).max()))
    return largest


def open_session(data: bytes) -> Any:
    """The graph in onnxruntime, on one thread. Raises `BundleError` where onnxruntime is not installed."""
    try:
        import onnxruntime
    except ImportError:
        raise BundleError(MISSING, arguments=["onnx"]) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def initial_state(session: Any) -> dict[str, NDArray[Any]]:
    """The state before a sequence: zeros for every `state.*` input."""
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
    return {
        entry.name: np.zeros(entry.shape, types[entry.type])
        for entry in session.get_inputs()
        if entry.name.startswith("state.")
    }


def step(
    session: Any, row: NDArray[np.float64], t: int, state: dict[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]]]:
    """One row through the graph: prediction (targets,) and the next state."""
    outputs = session.run(None, {"row": row, "step": np.array(t, np.float64), **state})
    names = [entry.name for entry in session.get_outputs()]
    found = dict(zip(names, outputs, strict=True))
    return found.pop("prediction"), {name.replace("next.", "state.", 1): value for name, value in found.items()}
