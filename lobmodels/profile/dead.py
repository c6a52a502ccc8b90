"""Finds data that teaches nothing: constant columns, copies of others, features that they make constant, targets of
zeros.

None of it breaks the format, and some is as it should be (a book quoted around its mid price has p0 = -p6). But a
network pays for such columns, a search spends trials on such features, and nobody would notice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lobmodels.data import Sequences
from lobmodels.data.parquet import Block
from lobmodels.features import NAMES
from lobmodels.inputs import as_tensor, available_groups, feature_columns
from lobmodels.schema import Schema

MOSTLY = 0.5  # a target that is exactly 0 in more than this share of the scored rows is told
SAMPLED = 16  # whole sequences on which features are computed
NOISE = 1e-9  # a feature whose range is below this share of its size varies by rounding alone


@dataclass(frozen=True)
class Copy:
    """A column that equals another, or its negative, in every row."""

    column: str
    of: str
    negative: bool


@dataclass(frozen=True)
class DeadData:
    """What of a file's columns, features and targets teaches nothing."""

    constant: dict[str, float] = field(default_factory=dict)  # columns with their value
    copies: tuple[Copy, ...] = ()
    features: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by group, features that are constant
    zero_targets: dict[str, float] = field(default_factory=dict)  # share of scored rows

    def lines(self) -> list[str]:
        """Each finding in one line."""
        found = [f"column {name} is {value:g} in every row" for name, value in self.constant.items()]
        for copy in self.copies:
            what = "the negative of" if copy.negative else "equal to"
            found.append(f"column {copy.column} is {what} {copy.of} in every row")
        found += [f"{group_line(group, names)} on this data" for group, names in self.features.items()]
        found += [
            f"target {name} is exactly 0 in {share:.0%} of the scored rows" for name, share in self.zero_targets.items()
        ]
        return found


def group_line(group: str, constant: Sequence[str]) -> str:
    """How much of a feature group is constant, in words."""
    total = len(NAMES[group])
    if len(constant) == total:
        return f"feature group {group}: all its {total} columns are constant"
    verb = "is" if len(constant) == 1 else "are"
    return f"feature group {group}: {', '.join(constant)} ({len(constant)} of {total} columns) {verb} constant"


def constant_features(sequences: Iterable[NDArray[np.float32]], schema: Schema) -> dict[str, tuple[str, ...]]:
    """By feature group, the features that have one value in all rows of `sequences`, each (T, F) and whole."""
    groups, raw = available_groups(schema), len(schema.features)
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None
    for rows in sequences:
        columns = feature_columns(as_tensor(np.ascontiguousarray(rows))[None], groups, schema)[
            raw:, 0
        ].numpy()  # (n, T)
        low = columns.min(1) if low is None else np.minimum(low, columns.min(1))
        high = columns.max(1) if high is None else np.maximum(high, columns.max(1))
    if low is None or high is None:
        return {}
    dead = iter(high - low <= NOISE * np.maximum(np.abs(high), np.abs(low)))
    found = {group: tuple(name for name in NAMES[group] if next(dead)) for group in groups}
    return {group: names for group, names in found.items() if names}


def sampled(sequences: Sequences) -> Iterable[NDArray[np.float32]]:
    """Whole sequences (T, F), evenly spaced."""
    index = np.unique(np.linspace(0, len(sequences) - 1, min(len(sequences), SAMPLED)).round().astype(int))
    return (sequences.features[i, : sequences.lengths[i]] for i in index.tolist())


class DeadSearch:
    """Looks for copies of columns and targets of zeros, block by block, and keeps a few whole sequences for
    features."""

    def __init__(self, schema: Schema, blocks: int) -> None:
        self.schema = schema
        self.names = schema.features + schema.targets
        self.every = max(1, blocks // SAMPLED)
        self.pairs: list[tuple[int, int, bool]] | None = None  # candidates: (column, another one, negative)
        self.zeros, self.scored, self.blocks = np.zeros(len(schema.targets), np.int64), 0, 0
        self.kept: list[NDArray[np.float32]] = []

    def add(self, block: Block) -> None:
        """Look at the next rows, whose identifiers and steps are in order."""
        values = block.values
        if self.pairs is None:
            self.pairs = self._first(values)
        self.pairs = [pair for pair in self.pairs if self._holds(values, *pair)]
        self.zeros += (values[block.scored, len(self.schema.features) :] == 0).sum(0)
        self.scored += int(block.scored.sum())
        if self.blocks % self.every == 0 and len(self.kept) < SAMPLED:
            self._keep(block)
        self.blocks += 1

    def _first(self, values: NDArray[np.float32]) -> list[tuple[int, int, bool]]:
        """Pairs that agree in a few rows: nearly all others are out."""
        few = values[:: max(1, len(values) // 64)]
        return [
            (j, i, negative)
            for j in range(len(self.names))
            for i in range(j)
            for negative in (False, True)
            if self._holds(few, j, i, negative)
        ]

    @staticmethod
    def _holds(values: NDArray[np.float32], column: int, of: int, negative: bool) -> bool:
        return np.array_equal(values[:, column], -values[:, of] if negative else values[:, of])

    def _keep(self, block: Block) -> None:
        """The first sequence of the block, where all of it is there."""
        starts = np.flatnonzero(block.step == 0)
        if len(starts) < 2 and not (len(starts) and len(block.step) - starts[0] == self.schema.sequence_length):
            return
        stop = starts[1] if len(starts) > 1 else len(block.step)
        self.kept.append(block.values[starts[0] : stop, : len(self.schema.features)].copy())

    def result(self, ranges: dict[str, tuple[float, float]]) -> DeadData:
        """What was found. `ranges` holds the least and the largest value of each column."""
        constant = {name: low for name, (low, high) in ranges.items() if low == high}
        copies: dict[str, Copy] = {}
        for column, of, negative in self.pairs or []:
            name, other = self.names[column], self.names[of]
            if name not in constant and other not in copies:  # each against the first of its kind
                copies.setdefault(name, Copy(name, other, negative))
        shares = dict(zip(self.schema.targets, (self.zeros / max(1, self.scored)).tolist(), strict=True))
        return DeadData(
            constant,
            tuple(copies.values()),
            constant_features(self.kept, self.schema),
            {name: share for name, share in shares.items() if share > MOSTLY and name not in constant},
        )


def dead_of(sequences: Sequences, ranges: dict[str, tuple[float, float]]) -> DeadData:
    """What of loaded data teaches nothing. `ranges` holds the least and the largest value of each raw column."""
    schema, warmup = sequences.schema, sequences.schema.warmup_steps
    search = DeadSearch(schema, len(sequences))
    for i in range(len(sequences)):
        length = int(sequences.lengths[i])
        step = np.arange(length)
        values = np.concatenate([sequences.features[i, :length], sequences.targets[i, :length]], 1)
        search.add(Block(0, np.full(length, sequences.seq_ix[i]), step, step >= warmup, values))
    return search.result({name: ranges[name] for name in schema.features if name in ranges})
