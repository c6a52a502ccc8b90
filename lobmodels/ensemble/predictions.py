"""Predictions of runs on validation, computed once: every analysis and every fit of weights starts from them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lobmodels.checkpoint import Checkpoint
from lobmodels.data import Sequences, cache_folder
from lobmodels.errors import OutputError
from lobmodels.files import appearing


def scored_targets(data: Sequences) -> NDArray[np.float32]:
    """Targets of the scored steps, (N, 901, 2)."""
    return np.asarray(data.targets[:, data.schema.warmup_steps :])


def predict_all(
    members: Sequence[Checkpoint],
    data: Sequences,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[NDArray[np.float32]]:
    """Predictions of each member on the scored steps of `data`: read-only arrays (N, 901, 2), mapped from the cache.

    `progress(members done, in all)`. Each is computed once and then read from the cache.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    found = []
    for i, member in enumerate(members):
        found.append(_predictions(member, data, device))
        if progress is not None:
            progress(i + 1, len(members))
    return found


def _predictions(member: Checkpoint, data: Sequences, device: str) -> NDArray[np.float32]:
    path = cache_folder() / "predictions" / data.fingerprint / f"{_digest(member)}.npy"
    shape = (len(data), data.schema.scored_steps, len(data.schema.targets))
    try:
        cached = np.load(path, mmap_mode="r")
        if cached.shape == shape:
            return cached
    except (OSError, ValueError, EOFError):
        pass  # never computed, or cut off by a full disk: compute it
    predicted = member.predict(data.features, device)[:, data.schema.warmup_steps :]
    _store(path, predicted)
    return predicted


def _store(path: Path, predicted: NDArray[np.float32]) -> None:
    """Keep the array where the disk takes it; a cache that cannot be written costs time, not the result."""
    with contextlib.suppress(OutputError), appearing(path) as partial:
        np.save(partial, predicted)


def _digest(member: Checkpoint) -> str:
    """Names what decides a member's predictions: configuration, inputs and weights."""
    digest = hashlib.blake2b(f"{member.config.active()} {member.pipeline.groups}".encode(), digest_size=16)
    if member.pipeline.normalizer is not None:
        digest.update(member.pipeline.normalizer.mean.tobytes())
        digest.update(member.pipeline.normalizer.std.tobytes())
    for name in sorted(member.weights):
        digest.update(name.encode())
        digest.update(member.weights[name].numpy().tobytes())
    return digest.hexdigest()
