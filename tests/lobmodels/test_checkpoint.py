"""A checkpoint is complete or refused; reading one runs nobody's code."""

import dataclasses

import numpy as np
import pytest
import torch

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.errors import CheckpointError
from lobmodels.inputs import InputPipeline
from lobmodels.networks import build_network
from lobmodels.networks.mixture import KeptEpoch
from lobmodels.schema import LOB
from lobmodels.serialization import pack, unpack


@pytest.fixture
def checkpoint() -> Checkpoint:
    """An untrained run of the smallest kind."""
    config = RunConfig.parse({"hidden_size": 4, "num_layers": 1})
    return Checkpoint(
        name="joint/0",
        config=config,
        seed=3,
        pipeline=InputPipeline((), None, LOB),
        weights=build_network(config, 32).state_dict(),
        history=[],
        best_epoch=0,
        scores={"select": {"t0": 0.2, "t1": 0.1, "mean": 0.15}, "report": None},
        data_fingerprint="f",
        report_fraction=0.0,
    )


def test_round_trip(checkpoint: Checkpoint) -> None:
    """Bytes hold everything, and equal runs give equal bytes."""
    blob = checkpoint.to_bytes()
    again = Checkpoint.from_bytes(blob)
    assert again.to_bytes() == blob
    assert again.config == checkpoint.config and again.seed == 3 and again.scores == checkpoint.scores
    assert again.versions["torch"] == torch.__version__ or again.versions["torch"] in torch.__version__


def test_missing_tensor(checkpoint: Checkpoint) -> None:
    """A checkpoint without all its tensors is refused with their names."""
    weights = {k: v for k, v in checkpoint.weights.items() if k != "head.bias"}
    blob = dataclasses.replace(checkpoint, weights=weights).to_bytes()
    with pytest.raises(CheckpointError, match=r"tensors: head\.bias"):
        Checkpoint.from_bytes(blob)


def test_other_shape(checkpoint: Checkpoint) -> None:
    """A tensor of another shape is refused, not broadcast."""
    weights = checkpoint.weights | {"head.bias": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"head\.bias"):
        Checkpoint.from_bytes(dataclasses.replace(checkpoint, weights=weights).to_bytes())


def test_other_version(checkpoint: Checkpoint) -> None:
    """Another format is refused with the version that wrote it."""
    tensors, document = unpack(checkpoint.to_bytes(), "it")
    document |= {"format": 99, "versions": {"lobtuna": "9.9"}}
    with pytest.raises(CheckpointError, match=r"format 99.*9\.9"):
        Checkpoint.from_bytes(pack(tensors, document))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:50], lambda b: b"", lambda b: b"\x80\x04K\x01." * 20, lambda b: b[:-7]]
)
def test_damage(checkpoint: Checkpoint, damage) -> None:  # type: ignore[no-untyped-def]
    """Cut, empty or foreign bytes (a pickle, say) give one clear error."""
    with pytest.raises(CheckpointError, match="damaged"):
        Checkpoint.from_bytes(damage(checkpoint.to_bytes()))


@pytest.fixture
def mixture(checkpoint: Checkpoint) -> Checkpoint:
    """The same run with two epochs, of which the second alone predicts t1."""
    config = RunConfig.parse({"hidden_size": 4, "num_layers": 1, "snapshots": 2, "epoch_per_target": True})
    other = build_network(config, 32).state_dict()
    epochs = (KeptEpoch(2, checkpoint.weights, (0.5, 0.0)), KeptEpoch(11, other, (0.5, 1.0)))
    return dataclasses.replace(checkpoint, config=config, weights={}, epochs=epochs)


def test_several_epochs(mixture: Checkpoint) -> None:
    """Read back, the run has its epochs, their shares and its predictions; equal runs give equal bytes."""
    again = Checkpoint.from_bytes(mixture.to_bytes())
    assert again.to_bytes() == mixture.to_bytes() and not again.weights
    assert [(kept.epoch, kept.shares) for kept in again.epochs] == [(2, (0.5, 0.0)), (11, (0.5, 1.0))]
    raw = np.random.default_rng(0).standard_normal((2, 20, 32)).astype(np.float32)
    first, second = (single.predict(raw) for single in mixture.singles)
    found = again.predict(raw)
    assert found[..., 0] == pytest.approx((first + second)[..., 0] / 2, abs=1e-6)
    assert found[..., 1] == pytest.approx(second[..., 1], abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, d: t.pop("epoch.11.head.bias"), r"tensors: head\.bias"),
        (lambda t, d: t.update({"epoch.7.head.bias": torch.zeros(2)}), r"tensors: epoch\.7\.head\.bias"),
        (lambda t, d: t.update({"network.head.bias": torch.zeros(2)}), r"tensors: network\.head\.bias"),
        (lambda t, d: d["epochs"].pop(), r"shares sum to \[0\.5, 0\.0\]"),
        (lambda t, d: d["epochs"][1].update(epoch=12), r"tensors: epoch\.11\.head\.bias, .* head\.bias, "),
        (lambda t, d: d["epochs"][0].update(shares=[0.9, 0.0]), r"shares sum to \[1\.4, 1\.0\], not to 1"),
        (lambda t, d: d.pop("epochs"), r"misshapen tensors: epoch\.11\.head\.bias, .* head\.bias, "),
        (lambda t, d: [kept.update(shares=[0.5]) for kept in d["epochs"]], r"shares sum to \[1\.0\]"),
        (lambda t, d: d["epochs"][0].pop("shares"), "lacks or contradicts 'shares'"),
    ],
)
def test_half_of_several_epochs(mixture: Checkpoint, change, message: str) -> None:  # type: ignore[no-untyped-def]
    """A run without all its epochs, or with more, is refused rather than read in part."""
    tensors, document = unpack(mixture.to_bytes(), "it")
    change(tensors, document)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.from_bytes(pack(tensors, document))


def test_unknown_parameter(checkpoint: Checkpoint) -> None:
    """A configuration that this version cannot build is refused, not guessed at."""
    tensors, document = unpack(checkpoint.to_bytes(), "it")
    document["configuration"]["moonphase"] = 1
    with pytest.raises(CheckpointError, match="moonphase"):
        Checkpoint.from_bytes(pack(tensors, document))
