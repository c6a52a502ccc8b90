"""Predictions of runs on validation, computed once: every analysis and every fit of weights starts from them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lobmodels.checkpoint import Checkpoint
from lobmodels.data import Dataset, Sequences, cache_folder
from lobmodels.data.splits import Indices
from lobmodels.errors import OutputError
from lobmodels.files import appearing
from lobmodels.plugins.registering import source_digest

CHUNK = 128  # sequences whose features are in memory at once


def scored_targets(data: Sequences) -> NDArray[np.float32]:
    """Targets of the scored steps, (N, S, K)."""
    return np.asarray(data.targets[:, data.schema.warmup_steps :])


def predict_all(
    members: Sequence[Checkpoint],
    data: Sequences,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[NDArray[np.float32]]:
    """Predictions of each member on the scored steps of `data`: read-only arrays (N, S, K), mapped from the cache.

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
    path = cache_folder() / "predictions" / data.fingerprint / f"{digest(member)}.npy"
    shape = (len(data), data.features.shape[1] - data.schema.warmup_steps, len(data.schema.targets))
    return mapped(path, shape, lambda: member.predict(data.features, device)[:, data.schema.warmup_steps :])


def predict_held_out(
    member: Checkpoint, dataset: Dataset, index: Indices, device: str | None = None
) -> NDArray[np.float32]:
    """Predictions (n, S, K) on the sequences that the run held out: `index`, counted through both files.

    Read-only, mapped from the cache once they are computed.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    schema, rows = dataset.schema, dataset.features(index)
    name = f"{digest(member)}-{hashlib.blake2b(index.tobytes(), digest_size=8).hexdigest()}.npy"

    def compute() -> NDArray[np.float32]:
        parts = [member.predict(rows[i : i + CHUNK], device) for i in range(0, len(rows), CHUNK)]
        return np.concatenate(parts)[:, schema.warmup_steps :]

    path = cache_folder() / "predictions" / dataset.fingerprint / name
    return mapped(path, (len(index), rows.shape[1] - schema.warmup_steps, len(schema.targets)), compute)


def mapped(path: Path, shape: tuple[int, ...], compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """The array of `shape` in the cache file `path`, mapped; else the result of `compute`, which is stored there."""
    try:
        cached = np.load(path, mmap_mode="r")
        if cached.shape == shape:
            return cached
    except (OSError, ValueError, EOFError):
        pass  # never computed, or cut off by a full disk: compute it
    computed = compute()
    with contextlib.suppress(OutputError), appearing(path) as partial:  # without the cache, only time is lost
        np.save(partial, computed)
    return computed


def digest(member: Checkpoint) -> str:
    """Hash of everything that a member's predictions depend on: configuration, inputs, weights, and the source of
    a plugin's network and feature groups."""
    found = hashlib.blake2b(f"{member.config.identity()} {member.pipeline.groups}".encode(), digest_size=16)
    parts = [("network", member.config.architecture), *(("feature group", name) for name in member.pipeline.groups)]
    for source in (source_digest(*part) for part in parts):
        if source is not None:
            found.update(source.encode())
    if member.pipeline.normalizer is not None:
        found.update(member.pipeline.normalizer.mean.tobytes())
        found.update(member.pipeline.normalizer.std.tobytes())
    for single in member.singles:
        for name in sorted(single.weights):
            found.update(name.encode())
            found.update(single.weights[name].numpy().tobytes())
    if member.epochs:
        found.update(member.shares.tobytes())
    return found.hexdigest()
