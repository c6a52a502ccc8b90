"""Reads a data set a few sequences at a time, on all cores, so that a profile needs little memory."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lobmodels.data import Sequences
from lobmodels.features import GROUPS, feature_names
from lobmodels.inputs import append_features
from lobmodels.schema import Schema

SEQUENCES = 8  # a chunk: 8,000 rows of 66 features are 4 MB in float64
ALL_GROUPS = tuple(GROUPS)
R = TypeVar("R")


@dataclass(frozen=True)
class Chunk:
    """Consecutive sequences with every derived feature appended."""

    first: int  # index of its first sequence
    features: Tensor  # (B, T, F) float64, F columns of the file and derived ones
    targets: Tensor  # (B, T, K) float64


def all_feature_names(schema: Schema) -> tuple[str, ...]:
    """The raw columns and the features of all groups, in their order."""
    return schema.features + feature_names(ALL_GROUPS)


def column_groups(schema: Schema, groups: tuple[str, ...] = ALL_GROUPS) -> dict[str, list[int]]:
    """Columns of each group of raw columns, then of each group of `groups` appended to them."""
    members = {
        group: [schema.features.index(name) for name in columns] for group, columns in schema.column_groups.items()
    }
    first = len(schema.features)
    for group in groups:  # by position: two groups may hold a feature of one name
        count = len(feature_names((group,)))
        members[group] = list(range(first, first + count))
        first += count
    return members


def map_chunks(
    sequences: Sequences, work: Callable[[Chunk], R], indices: NDArray[np.int64] | None = None
) -> Iterator[R]:
    """`work` of each chunk, in order; of the sequences at `indices` only, if given. Uses all cores.

    At most two chunks for each core are in memory, however slowly the results are taken.
    """
    chosen = np.arange(len(sequences)) if indices is None else indices
    cores = os.cpu_count() or 1
    starts = range(0, len(chosen), SEQUENCES)

    def one(start: int) -> R:
        part = chosen[start : start + SEQUENCES]
        rows = torch.from_numpy(np.array(sequences.features[part]))
        targets = torch.from_numpy(np.array(sequences.targets[part])).double()
        return work(Chunk(start, append_features(rows, ALL_GROUPS), targets))

    with _one_thread_each(), ThreadPoolExecutor(cores) as pool:
        waiting: deque[Future[R]] = deque()
        for start in starts:
            waiting.append(pool.submit(one, start))
            if len(waiting) >= 2 * cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let torch use one thread for a chunk, since the chunks themselves run in parallel."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
