"""Tensors and a JSON document in one safetensors blob: data that can be opened without running anyone's code."""

from __future__ import annotations

import json
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from lobmodels.errors import CheckpointError

KEY = "lobtuna"  # one metadata key: safetensors writes several in no particular order


def pack(tensors: dict[str, Tensor], document: dict[str, Any]) -> bytes:
    """Serialise; equal content gives equal bytes."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    return safetensors.torch.save(plain, {KEY: json.dumps(document, sort_keys=True)})


def unpack(blob: bytes, what: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inverse of `pack`. Raises `CheckpointError` that names `what` where the bytes are damaged or foreign."""
    try:
        tensors = safetensors.torch.load(blob)
        size = int.from_bytes(blob[:8], "little")
        document = json.loads(json.loads(blob[8 : 8 + size])["__metadata__"][KEY])
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{what} is not a lobtuna checkpoint or is damaged ({error}); fetch it again") from None
    return tensors, document
