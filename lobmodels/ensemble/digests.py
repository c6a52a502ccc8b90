"""Digests by which a submission can be recognised: of each of its arrays, and of its manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGESTS, SEAL = "digests", "seal"  # keys of the manifest


def array_digests(arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """A digest of each array's type, shape and values."""
    return {name: _of_array(array) for name, array in arrays.items()}


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with a digest of all the rest of it."""
    rest = {name: value for name, value in manifest.items() if name != SEAL}
    text = json.dumps(rest, sort_keys=True, allow_nan=False)
    return {**rest, SEAL: hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}


def _of_array(array: NDArray[Any]) -> str:
    found = hashlib.blake2b(f"{array.dtype.str} {array.shape}".encode(), digest_size=16)
    found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
