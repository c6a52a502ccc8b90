"""Chunks come in order and in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest

from lobmodels.data import Dataset
from lobmodels.profile.chunks import Chunk, map_chunks


def test_chunks_keep_order_and_bound_memory(small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results come in the order of the sequences, and work is not started far ahead of what was taken."""
    some = np.array([5, 3, 20])
    features = next(map_chunks(small_dataset.train, lambda chunk: chunk.features, some))
    np.testing.assert_array_equal(features[:, :, :32].numpy(), small_dataset.train.features[some])
    monkeypatch.setattr("lobmodels.profile.chunks.SEQUENCES", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    started: list[int] = []

    def work(chunk: Chunk) -> int:
        started.append(chunk.first)
        return chunk.first

    walk = map_chunks(small_dataset.train, work)
    assert [next(walk) for _ in range(3)] == [0, 1, 2]
    assert len(started) <= 3 + 2 * 2
    assert list(walk) == list(range(3, 24))
