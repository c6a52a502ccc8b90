"""Checks a data file as a whole: every broken rule, its size and scale, and how train and valid differ."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lobmodels.data.columns import column_notes, column_problems, is_readable
from lobmodels.data.parquet import Block, RowAudit, blocks, open_parquet, rows_of_block
from lobmodels.distributions import ks_distance
from lobmodels.errors import DataError
from lobmodels.profile.dead import DeadData, DeadSearch
from lobmodels.schema import LOB, Schema

SAMPLE_ROWS = 200_000  # rows kept of each file to compare distributions: KS is known to about 0.003


@dataclass(frozen=True)
class Scale:
    """Moments and range of one column's finite values."""

    mean: float
    std: float
    min: float
    max: float


@dataclass(frozen=True)
class FileAudit:
    """What one file holds. `problems` break the format; a file with none can be loaded."""

    path: Path
    rows: int
    sequences: int
    scored_rows: int
    nan: int
    inf: int
    scale: dict[str, Scale]
    problems: list[str]
    notes: list[str]  # columns that are cast as they are read, or not read
    dead: DeadData  # of a file without problems
    shortest: int  # steps of a sequence
    longest: int
    sample: dict[str, NDArray[np.float32]] = field(repr=False)  # evenly spaced rows of each column
    digests: frozenset[bytes] = field(repr=False)  # of the sequences' features
    repeated: int  # sequences whose features occur earlier in the file


@dataclass(frozen=True)
class Shift:
    """How one column of valid differs from train's; `mean_shift` in standard deviations of train."""

    column: str
    ks: float
    mean_shift: float


def audit_file(path: Path, schema: Schema = LOB, progress: Callable[[int, int], None] | None = None) -> FileAudit:
    """Read all of `path` once, in bounded memory. Whatever is wrong is in the result, nothing is raised.

    Columns that are missing or of a wrong type are left out of the rest. `progress(rows done, rows in all)`.
    """
    try:
        file = open_parquet(path)
    except DataError as error:
        return _unreadable(path, str(error).removeprefix(f"{path}: "))
    names, types = file.schema_arrow.names, file.schema_arrow.types
    problems, notes = column_problems(names, types, schema), column_notes(names, types, schema)
    readable = _readable(schema, names, types)
    rows = file.metadata.num_rows
    if readable is None:
        return replace(_unreadable(path, ""), rows=rows, problems=problems, notes=notes)
    audit, sums = RowAudit(readable), _Sums(readable, rows)
    dead = DeadSearch(readable, rows // rows_of_block(readable))
    try:
        for block in blocks(file, path, readable):
            audit.add(block)
            sums.add(block)
            dead.add(block)
            if progress is not None:
                progress(audit.rows, rows)
    except DataError as error:
        problems.append(str(error).removeprefix(f"{path}: "))
    problems += audit.finish()
    scale, lengths = sums.scale(), audit.lengths()
    return FileAudit(
        path=path,
        rows=rows,
        sequences=len(audit.seen),
        scored_rows=audit.scored,
        nan=sums.nan,
        inf=sums.inf,
        scale=scale,
        problems=problems,
        notes=notes,
        dead=DeadData() if problems else dead.result({name: (x.min, x.max) for name, x in scale.items()}),
        shortest=min(lengths, default=0),
        longest=max(lengths, default=0),
        sample=dict(zip(sums.names, np.concatenate(sums.sample).T, strict=True)) if sums.sample else {},
        digests=frozenset(sums.digests),
        repeated=sums.repeated,
    )


def _readable(schema: Schema, names: list[str], types: list[pa.DataType]) -> Schema | None:
    """`schema` with the columns that can be read; None without all ids and flags, because rows then mean nothing."""
    usable = {name for name, kind in zip(names, types, strict=True) if is_readable(name, kind, names, schema)}
    found = replace(
        schema,
        features=tuple(name for name in schema.features if name in usable),
        targets=tuple(name for name in schema.targets if name in usable),
    )
    return None if set(found.columns) - usable else found


def _unreadable(path: Path, problem: str) -> FileAudit:
    return FileAudit(path, 0, 0, 0, 0, 0, {}, [problem], [], DeadData(), 0, 0, {}, frozenset(), 0)


def shifts(train: FileAudit, valid: FileAudit) -> list[Shift]:
    """Difference of every column both files have, largest KS distance first."""
    found = [
        Shift(
            name,
            ks_distance(train.sample[name], valid.sample[name]),
            (valid.scale[name].mean - train.scale[name].mean) / (train.scale[name].std or 1.0),
        )
        for name in train.sample
        if name in valid.sample
    ]
    return sorted(found, key=lambda shift: -shift.ks)


def warnings(audits: list[FileAudit]) -> list[str]:
    """Faults that the format allows but that distort a score: sequences that occur twice."""
    found = [
        f"{audit.path.name}: {audit.repeated:,} sequences repeat an earlier one's features"
        for audit in audits
        if audit.repeated
    ]
    if len(audits) == 2 and (both := len(audits[0].digests & audits[1].digests)):
        found.append(
            f"{both:,} sequences of {audits[1].path.name} are in {audits[0].path.name} too: scores on it are too high"
        )
    return found


class _Sums:
    """Moments, range, a sample and digests of the values of a file, block by block."""

    def __init__(self, schema: Schema, rows: int) -> None:
        self.schema = schema
        self.names = schema.features + schema.targets
        self.count = np.zeros(len(self.names))
        self.shift: NDArray[np.float64] | None = None  # sums around a typical value do not cancel
        self.total, self.squares = np.zeros(len(self.names)), np.zeros(len(self.names))
        self.low, self.high = np.full(len(self.names), np.inf), np.full(len(self.names), -np.inf)
        self.nan = self.inf = self.repeated = 0
        self.sample: list[NDArray[np.float32]] = []
        self.digests: set[bytes] = set()
        self.stride = max(1, rows // SAMPLE_ROWS)
        while math.gcd(self.stride, schema.sequence_length) > 1:  # or it would see the same few steps only
            self.stride += 1

    def add(self, block: Block) -> None:
        values = block.values
        self.sample.append(values[-block.first_row % self.stride :: self.stride].copy())
        self._add_digests(values[:, : len(self.schema.features)])
        finite = np.isfinite(values)
        if not finite.all():
            self.nan += int(np.isnan(values).sum())
            self.inf += int(np.isinf(values).sum())
        counts = finite.sum(0)
        numbers = np.where(finite, values, 0.0).astype(np.float64)
        if self.shift is None:
            self.shift = numbers.sum(0) / np.maximum(counts, 1)
        centred = np.where(finite, numbers - self.shift, 0.0)
        self.count += counts
        self.total += centred.sum(0)
        self.squares += (centred * centred).sum(0)
        self.low = np.minimum(self.low, np.where(finite, values, np.inf).min(0))
        self.high = np.maximum(self.high, np.where(finite, values, -np.inf).max(0))

    def _add_digests(self, features: NDArray[np.float32]) -> None:
        if self.schema.variable_length:
            return  # blocks cut such sequences anywhere
        length = self.schema.sequence_length
        for start in range(0, len(features) - length + 1, length):
            digest = hashlib.blake2b(features[start : start + length].tobytes(), digest_size=16).digest()
            self.repeated += digest in self.digests
            self.digests.add(digest)

    def scale(self) -> dict[str, Scale]:
        """Moments and range of each column that has a finite value."""
        if self.shift is None:
            return {}
        count = np.maximum(self.count, 1)
        mean = self.total / count
        std = np.sqrt(np.maximum(self.squares / count - mean**2, 0))
        columns = zip(self.names, self.shift + mean, std, self.low, self.high, self.count, strict=True)
        return {name: Scale(float(m), float(s), float(low), float(high)) for name, m, s, low, high, n in columns if n}
