"""Writes a torch module as an ONNX graph: the ensemble on request, and a member that the runtime does not know."""

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


def member_graph(member: Checkpoint) -> NDArray[np.uint8]:
    """The bytes of the graph of one member: `x` (1, F) float32 and `state.I` to `prediction` (1, targets) and `next.I`.

    States are zeros before a sequence. Raises `BundleError` where onnx is not installed or cannot hold the network.
    """
    network = member.network()
    state = tuple(part.clone() for part in network.initial_state(1))
    names = [str(i) for i in range(len(state))]
    x = torch.zeros(1, len(member.pipeline.names))
    try:
        found = export_onnx(
            _Step(network),
            (x, *state),
            ["x", *(f"state.{name}" for name in names)],
            ["prediction", *(f"next.{name}" for name in names)],
        )
    except ImportError:
        raise BundleError(f"{member.name} ({member.config.architecture}) {MEMBER_MISSING}") from None
    return np.frombuffer(found, np.uint8)


class _Step(nn.Module):
    """One step of a network with its state as plain arguments, as the exporter reads it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        prediction, following = self.network.forward_step(x, state)
        return (prediction + 0.0 * x.sum(), *following)  # the exporter drops an input that nothing reads
