"""The challenge's own data states no schema anywhere: what is written for it has the bytes that it had before
schemas."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
import torch

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.ensemble.bundle import Bundle
from lobmodels.inputs import InputPipeline, Normalizer
from lobmodels.networks import build_network
from lobmodels.schema import LOB
from lobmodels.serialization import unpack

LATER = ("split",)  # keys of checkpoints that have come since, null in a run with the fixed split
LATER_PARAMETERS = ("conv_kernel",)  # of networks, in every manifest since

# Computed with the version before schemas (commit 5d7bd59) from the same members.
CHECKPOINTS = {"a#0": "cc6f4723731c5fa9", "a#1": "3e603679a874711a"}
MANIFEST = "8085b3a2b7ecfb28"


def member(name: str, **values: Any) -> Checkpoint:
    """A run of weights, scores and sums that are the same on every machine."""
    config = RunConfig.parse({"hidden_size": 4, "num_layers": 1, **values})
    width = len(InputPipeline(config.feature_groups(), None, LOB).names)
    zscore = config.normalizer == "zscore"
    normalizer = Normalizer(np.linspace(-1, 1, width), np.linspace(0.5, 2, width)) if zscore else None
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in build_network(config, width).state_dict().items()}
    numbers = {"epoch": 0, "loss": 1.0, "t0": 0.2, "t1": 0.1, "mean": 0.15, "lr": 0.001, "grad_norm": 1.0}
    return Checkpoint(
        name=name,
        config=config,
        seed=3,
        pipeline=InputPipeline(config.feature_groups(), normalizer, LOB),
        weights={
            key: torch.from_numpy(np.linspace(-1, 1, shape.numel(), dtype=np.float32)).reshape(shape)
            for key, shape in shapes.items()
        },
        history=[{**numbers, "train_seconds": 1.0, "seconds": 2.0}],
        best_epoch=0,
        scores={"select": {"t0": 0.2, "t1": 0.1, "mean": 0.15}, "report": None},
        data_fingerprint="d",
        report_fraction=0.25,
        valid_fingerprint="v",
        prediction_std=(0.4, 0.3),
        sequence_sums={"select": np.ones((2, 6, 2), np.float32)},
        versions={},
        git_revision=None,
    )


def members() -> list[Checkpoint]:
    """A plain run, and one with features, a normaliser and another head."""
    return [member("a#0"), member("a#1", derived=True, normalizer="zscore", head="mlp")]


def digest(document: dict[str, Any], tensors: dict[str, torch.Tensor]) -> str:
    """Of a document in the order of its keys' names, and of tensors."""
    found = hashlib.blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=8)
    for name in sorted(tensors):
        found.update(name.encode() + tensors[name].numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("run", members(), ids=lambda run: run.name)
def test_a_checkpoint_of_the_challenges_data(run: Checkpoint) -> None:
    """Its document and its tensors are those of the version before schemas."""
    tensors, document = unpack(run.to_bytes(), "the checkpoint")
    for name in LATER:
        assert document.pop(name) is None
    assert digest(document, tensors) == CHECKPOINTS[run.name]


def test_a_manifest_of_the_challenges_data() -> None:
    """The manifest of a submission of both is that of the version before schemas, but for its own digest."""
    manifest = Bundle.of(members()).manifest()
    manifest.pop("seal", None)
    for entry in manifest["members"]:
        for name in LATER:
            assert entry["origin"].pop(name, None) is None
        for name in LATER_PARAMETERS:
            assert entry.pop(name) == RunConfig.model_fields[name].default
    assert not {"schema", "slots"} & set(manifest)
    assert digest(manifest, {}) == MANIFEST
