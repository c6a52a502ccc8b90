"""Writes a torch module as an ONNX graph: the ensemble on request, parts that the runtime does not know by itself."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lobmodels.checkpoint import Checkpoint
from lobmodels.errors import BundleError
from lobmodels.networks import ARCHITECTURES, Network
from lobmodels.own_features import CODE, OwnFeatures
from lobmodels.plugins.declarations import is_declared

OPSET = 17  # what onnxruntime 1.18, the oldest version we support, reads
MISSING = "`onnx` needs the onnx extra: pip install 'lobtuna[onnx]'"
MEMBER_MISSING = "needs an ONNX graph, and onnx is not installed: pip install 'lobtuna[onnx]'"


def export_onnx(step: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The graph of `step` with these names of its inputs and outputs, the same bytes each time.

    Raises `BundleError` where torch cannot write it, `ImportError` where onnx is not installed.
    """
    import onnx  # noqa: F401  (the exporter asks for it, with a message that does not say how to get it)

    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about sizes that are constant here
        path = Path(folder, "step.onnx")
        try:
            # The exporter that traces; docs/design-notes.md gives the reason against the newer one.
            torch.onnx.export(
                step,
                inputs,
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=list(names),
                output_names=list(outputs),
            )
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            text = " ".join(str(error).split())[:300]
            raise BundleError(f"torch cannot write these networks as ONNX ({text}); export them without it") from None
        return path.read_bytes()


def is_fused(member: Checkpoint) -> bool:
    """Whether the runtime computes this member by itself; a network of the user's runs as an ONNX graph instead."""
    return not is_declared("network", member.config.architecture)


def require_network(path: Path, member: Mapping[str, Any]) -> None:
    """Raise `BundleError` where a member of the submission at `path` has a network that was not loaded here."""
    if member["architecture"] not in ARCHITECTURES.names:
        raise BundleError(
            f"{path}: {member['name']} is a network {member['architecture']!r}, which a plugin defines: name its file "
            "with `plugin`",
            arguments=["plugin"],
        )


def require_features(path: Path, own: Sequence[Mapping[str, Any]]) -> None:
    """Raise `BundleError` where the submission at `path` has a feature group that was not loaded here."""
    for entry in own:
        if entry["name"] not in CODE.names:
            raise BundleError(
                f"{path}: {entry['name']} is a feature group that a plugin defines: name its file with `plugin`",
                arguments=["plugin"],
            )


def features_graph(group: OwnFeatures) -> NDArray[np.uint8]:
    """The bytes of the graph of a plugin's feature group: `x` (1, reads) float64 and `state.I` to `features` (1, gives)
    float64 and `next.I`.

    A graph rather than the user's source: the submission then needs nothing that the source imports, whoever opens it
    runs no code of a stranger's, and what is computed is what was trained on. Raises `BundleError` where onnx is not
    installed or cannot hold it.
    """
    x, state = torch.zeros(1, len(group.columns.reads), dtype=torch.float64), group.initial_state(1)
    try:
        return _graph(_FeatureStep(group), x, state, "features")
    except ImportError:
        raise BundleError(f"feature group {group.name} {MEMBER_MISSING}") from None


def member_graph(member: Checkpoint) -> NDArray[np.uint8]:
    """The bytes of the graph of one member: `x` (1, F) float32 and `state.I` to `prediction` (1, targets) and `next.I`.

    States are zeros before a sequence. Raises `BundleError` where onnx is not installed or cannot hold the network.
    """
    network = member.network()
    try:
        return _graph(
            _Step(network), torch.zeros(1, len(member.pipeline.names)), network.initial_state(1), "prediction"
        )
    except ImportError:
        raise BundleError(f"{member.name} ({member.config.architecture}) {MEMBER_MISSING}") from None


def _graph(step: nn.Module, x: Tensor, state: tuple[Tensor, ...], result: str) -> NDArray[np.uint8]:
    state = tuple(part.clone() for part in state)
    names = [str(i) for i in range(len(state))]
    inputs, outputs = (f"state.{name}" for name in names), (f"next.{name}" for name in names)
    return np.frombuffer(export_onnx(step, (x, *state), ["x", *inputs], [result, *outputs]), np.uint8)


class _Step(nn.Module):
    """One step of a network with its state as plain arguments, as the exporter reads it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        prediction, following = self.network.forward_step(x, state)
        return (prediction + 0.0 * x.sum(), *following)  # the exporter drops an input that nothing reads


class _FeatureStep(nn.Module):
    """One step of a feature group with its state as plain arguments, as the exporter reads it."""

    def __init__(self, group: OwnFeatures) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        features, following = self.group.step(x, state)
        return (features + 0.0 * x.sum(), *following)  # the exporter drops an input that nothing reads
