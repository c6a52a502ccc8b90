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
from lobmodels.features import feature_names
from lobmodels.inputs import append_features, available_groups
from lobmodels.own_features import names_of
from lobmodels.schema import Schema

SEQUENCES = 8  # a chunk: 8,000 rows of 66 features are 4 MB in float64
R = TypeVar("R")


@dataclass(frozen=True)
class Chunk:
    """Consecutive sequences with every derived feature appended."""

    first: int  # index of its first sequence
    features: Tensor  # (B, T, F) float64, F columns of the file and derived ones
    targets: Tensor  # (B, T, K) float64


def all_feature_names(schema: Schema) -> tuple[str, ...]:
    """The raw columns and the features of all groups that the data allows, in their order."""
    return schema.features + feature_names(available_groups(schema))


def column_groups(schema: Schema, groups: tuple[str, ...] | None = None) -> dict[str, list[int]]:
    """Columns of each group of raw columns, then of each group of `groups` appended to them, all that the data allows
    where it is None."""
    groups = available_groups(schema) if groups is None else groups
    found = {
        name: [schema.features.index(column) for column in columns] for name, columns in schema.column_groups.items()
    }
    first = len(schema.features)
    for group in groups:  # by place: two groups may compute features of one name
        count = len(names_of((group,)))
        found[group] = list(range(first, first + count))
        first += count
    return found


def map_chunks(
    sequences: Sequences, work: Callable[[Chunk], R], indices: NDArray[np.int64] | None = None
) -> Iterator[R]:
    """`work` of each chunk, in order; of the sequences at `indices` only, if given. Uses all cores.

    At most two chunks for each core are in memory, however slowly the results are taken.
    """
    chosen = np.arange(len(sequences)) if indices is None else indices
    cores, groups = os.cpu_count() or 1, available_groups(sequences.schema)
    starts = range(0, len(chosen), SEQUENCES)

    def one(start: int) -> R:
        part = chosen[start : start + SEQUENCES]
        rows = torch.from_numpy(np.array(sequences.features[part]))
        targets = torch.from_numpy(np.array(sequences.targets[part])).double()
        return work(Chunk(start, append_features(rows, groups, sequences.schema), targets))

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
