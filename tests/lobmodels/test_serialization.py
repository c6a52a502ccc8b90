"""Tensors and a document in one blob: equal bytes for equal content, damage refused by name."""

from __future__ import annotations

import pytest
import torch

from lobmodels.errors import CheckpointError
from lobmodels.serialization import pack, unpack

TENSORS = {"b": torch.arange(6.0).view(2, 3), "a": torch.tensor([1, 2])}
DOCUMENT = {"z": [1, {"y": None}], "a": "ü"}


def test_round_trip() -> None:
    """Everything comes back, tensors that lie apart in memory included; the order of keys does not matter."""
    blob = pack(TENSORS, DOCUMENT)
    tensors, document = unpack(blob, "it")
    assert document == DOCUMENT
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {"a": [1, 2], "b": [[0, 1, 2], [3, 4, 5]]}
    assert pack(dict(reversed(TENSORS.items())), dict(reversed(DOCUMENT.items()))) == blob
    turned = pack({"b": TENSORS["b"].T}, {})
    assert unpack(turned, "it")[0]["b"].tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("damage", [b"", b"text", b"\x80\x04K\x01.", "cut", "no document"])
def test_damage_is_named(damage: bytes | str) -> None:
    """Nothing, text, a pickle, a cut-off blob and a safetensors file of others are refused with the name given."""
    import safetensors.torch

    blob = {"cut": pack(TENSORS, DOCUMENT)[:-5], "no document": safetensors.torch.save(TENSORS)}.get(str(damage))
    with pytest.raises(CheckpointError, match="the stored run is not a lobtuna checkpoint or is damaged"):
        unpack(damage if isinstance(damage, bytes) else blob or b"", "the stored run")
