"""Sequences as every command and every run reads them: arrays, their schema, and the fingerprint of their content."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lobmodels.data import cache
from lobmodels.data.partition import Partition, SplitRule
from lobmodels.data.splits import Indices
from lobmodels.errors import ConfigError, DataError, Remedy
from lobmodels.schema import LOB, Schema
from lobmodels.schema_file import find_schema

MEMBERS = ("train", "valid")


@dataclass(frozen=True)
class Sequences:
    """Sequences of one file: read-only arrays mapped from the cache, so that processes share their memory.

    N sequences of T steps with F features and K targets, as `schema` names them. Where lengths differ, T is the longest
    one's; behind the end of a shorter sequence features are 0 and targets NaN, which no row of a file can be.
    """

    features: NDArray[np.float32]  # (N, T, F)
    targets: NDArray[np.float32]  # (N, T, K)
    seq_ix: NDArray[np.int64]  # (N,) in the order of the file
    fingerprint: str  # of the content alone, not of the path
    source: Path
    schema: Schema = LOB

    def __len__(self) -> int:
        return len(self.seq_ix)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each sequence, (N,)."""
        if not self.schema.variable_length:
            return np.full(len(self), self.features.shape[1], np.int64)
        return (~np.isnan(self.targets[:, :, 0])).sum(1).astype(np.int64)


@dataclass(frozen=True)
class Rows:
    """Some sequences of one array of both files. They are copied when a slice is taken, not before. Where one file's
    longest sequence is shorter than the other's, `padding` stands behind it."""

    train: NDArray[np.float32]  # (N, T, ...)
    valid: NDArray[np.float32]
    index: Indices  # (n,) counted through both files
    padding: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all of them, (n, T, ...)."""
        return (len(self), max(self.train.shape[1], self.valid.shape[1]), *self.train.shape[2:])

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, part: slice, /) -> NDArray[np.float32]:
        """The sequences of this slice, (n, ...): all of train.parquet are the mapped array itself."""
        index, count = self.index[part], len(self.train)
        first, steps = index < count, self.shape[1]
        everything = len(index) == count and count and index[-1] == count - 1  # sorted: these are all of train.parquet
        if everything and self.train.shape[1] == steps:
            return self.train
        found = np.full((len(index), *self.shape[1:]), self.padding, np.float32)
        found[first, : self.train.shape[1]] = self.train[index[first]]
        found[~first, : self.valid.shape[1]] = self.valid[index[~first] - count]
        return found


@dataclass(frozen=True)
class Dataset:
    """Train and validation sequences, and the fingerprint that a study keeps of both."""

    train: Sequences
    valid: Sequences
    fingerprint: str

    @property
    def schema(self) -> Schema:
        """The schema that both files share."""
        return self.train.schema

    def partition(self, rule: SplitRule) -> Partition:
        """The sequences by role, as `rule` divides them. Raises `DataError` where there are too few."""
        return rule.partition(self.train.seq_ix, self.valid.seq_ix)

    def features(self, index: Indices) -> Rows:
        """Features (n, T, F) of sequences counted through both files."""
        return Rows(self.train.features, self.valid.features, index)

    def targets(self, index: Indices) -> Rows:
        """Targets (n, T, K) of sequences counted through both files."""
        return Rows(self.train.targets, self.valid.targets, index, padding=math.nan)

    def lengths(self, index: Indices) -> NDArray[np.int64]:
        """Steps (n,) of sequences counted through both files."""
        return np.concatenate([self.train.lengths, self.valid.lengths])[index]


def check_batch_size(batch_size: int, partition: Partition) -> None:
    """Raise `ConfigError` where a batch would be larger than the train sequences."""
    if batch_size > len(partition.train):
        raise ConfigError(
            f"batch_size={batch_size} is larger than the data: there are {len(partition.train)} train sequences; "
            "choose a smaller batch_size"
        )


def load_dataset(folder: Path | str, cache_dir: Path | str | None = None, schema: Schema | None = None) -> Dataset:
    """The sequences of `folder`/train.parquet and `folder`/valid.parquet, read as `schema` says, else as the data
    itself says (`lobmodels.schema_file.find_schema`).

    Raises `DataError` if either is missing or breaks the format.
    """
    paths = member_paths(Path(folder))
    schema = schema or find_schema(Path(folder))
    train, valid = (load_sequences(path, cache_dir, schema) for path in paths)
    both = hashlib.blake2b(f"{train.fingerprint} {valid.fingerprint}".encode(), digest_size=16)
    return Dataset(train, valid, both.hexdigest())


def member_paths(folder: Path) -> tuple[Path, Path]:
    """train.parquet and valid.parquet of `folder`; `DataError` names what is missing."""
    if not folder.is_dir():
        what = "a file" if folder.exists() else "no such folder"
        message = f"{folder}: {what}; `data` is a folder with train.parquet and valid.parquet"
        remedy = None if folder.exists() else Remedy.WRITE_EXAMPLE_DATA
        raise DataError(message, arguments=["data"], remedy=remedy)
    train, valid = (folder / f"{name}.parquet" for name in MEMBERS)
    missing = [path.name for path in (train, valid) if not path.is_file()]
    if missing:
        message = f"{folder}: holds no {' and no '.join(missing)}; a data folder has both"
        raise DataError(message, remedy=Remedy.WRITE_EXAMPLE_DATA)
    return train, valid


def load_sequences(path: Path | str, cache_dir: Path | str | None = None, schema: Schema | None = None) -> Sequences:
    """The sequences of the parquet file `path`, from the cache where it knows the file, read as `load_dataset` does.

    Raises `DataError` with the first rule of the format that is broken.
    """
    path = Path(path)
    schema = schema or find_schema(path)
    found = cache.load_arrays(path, cache.cache_folder(cache_dir), schema)
    return Sequences(found.features, found.targets, found.seq_ix, _identity(found.fingerprint, schema), path, schema)


def _identity(content: str, schema: Schema) -> str:
    """Fingerprint of content and schema: the same numbers under another metric or other names are other data."""
    if schema.is_challenge:
        return content
    document = json.dumps(schema.document(), sort_keys=True)
    return hashlib.blake2b(f"{content} {document}".encode(), digest_size=16).hexdigest()
