"""Which sequences a run trains on, selects on and reports on: a fixed split, folds, walk-forward folds, or a refit.

Report sequences are set aside first, by every rule the same ones: scores on them can be compared across rules.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lobmodels.data.splits import Indices, validation_split
from lobmodels.errors import DataError
from lobmodels.registry import Registry

FIXED, FOLDS, WALK_FORWARD, REFIT = "fixed", "folds", "walk_forward", "refit"


@dataclass(frozen=True)
class Partition:
    """Sorted indices by role, without overlap. They count through both files: train.parquet's sequences come first."""

    train: Indices
    select: Indices
    report: Indices


@dataclass(frozen=True)
class Pool:
    """The sequences that are left when the report sequences are set aside, in the order of the files."""

    index: Indices  # counted through both files, sorted
    train: int  # so many of them are train.parquet's
    names: tuple[str, ...]  # of each: its file and its id there

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class SplitRule:
    """How the sequences of a data set are divided; a run has one rule, and a study's runs differ in `fold` alone.

    `fixed`: train.parquet trains, valid.parquet selects. `folds`: both together in `folds` parts, of which number
    `fold` selects. `walk_forward`: likewise, but a run trains only on what lies before the part it selects on, less
    `gap` sequences. `refit`: all of them train and none selects.
    """

    report_fraction: float = 0.25  # of the sequences of valid.parquet
    kind: str = FIXED
    folds: int = 1
    fold: int = 0
    gap: int = 0

    def partition(self, train_ids: Indices, valid_ids: Indices) -> Partition:
        """Divide sequences with these ids. A pure function of ids and rule, on every machine and version.

        Raises `DataError` where there are too few sequences, `UnknownNameError` for a kind that is not registered.
        """
        count = len(train_ids)
        select, report = validation_split(len(valid_ids), self.report_fraction)
        names = [f"train {i}" for i in train_ids.tolist()] + [f"valid {i}" for i in valid_ids[select].tolist()]
        pool = Pool(np.concatenate([np.arange(count), count + select]), count, tuple(names))
        train, select = KINDS[self.kind](self, pool)
        return Partition(train, select, count + report)

    @property
    def validated(self) -> bool:
        """Whether a run by this rule is scored on sequences that it was not trained on."""
        return self.kind != REFIT

    def refit(self, *, with_report: bool = False) -> SplitRule:
        """The rule by which the configurations of this rule's runs are trained on everything."""
        return SplitRule(0.0 if with_report else self.report_fraction, REFIT)

    def document(self) -> dict[str, Any] | None:
        """Plain values without the report fraction; None for the fixed split, as older versions stored none."""
        if self.kind == FIXED:
            return None
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "report_fraction"}

    @staticmethod
    def of(report_fraction: float, document: Mapping[str, Any] | None) -> SplitRule:
        """The rule of a stored document."""
        return SplitRule(report_fraction, **(document or {}))

    def __str__(self) -> str:
        words = {FOLDS: f"fold {self.fold} of {self.folds}", WALK_FORWARD: f"walk-forward fold {self.fold}"}
        return words.get(self.kind, self.kind)


KINDS: Registry[Callable[[SplitRule, Pool], tuple[Indices, Indices]]] = Registry("split")
"""Each entry divides the pool into the sequences that train and those that select."""


@KINDS.register(FIXED)
def _fixed(rule: SplitRule, pool: Pool) -> tuple[Indices, Indices]:
    return pool.index[: pool.train], pool.index[pool.train :]


@KINDS.register(REFIT)
def _refit(rule: SplitRule, pool: Pool) -> tuple[Indices, Indices]:
    return pool.index, pool.index[:0]


@KINDS.register(FOLDS)
def _folds(rule: SplitRule, pool: Pool) -> tuple[Indices, Indices]:
    """Sequences are dealt out in the order of a hash of file and id, each file by itself: every fold has its share of
    the validation sequences, which are later and may differ from the train sequences."""
    _require_fold(rule, len(pool))
    parts = (range(pool.train), range(pool.train, len(pool)))
    dealt = [i for part in parts for i in sorted(part, key=lambda i: _digest(pool.names[i]))]
    select = np.sort(pool.index[dealt[rule.fold :: rule.folds]])
    return np.setdiff1d(pool.index, select), select


@KINDS.register(WALK_FORWARD)
def _walk_forward(rule: SplitRule, pool: Pool) -> tuple[Indices, Indices]:
    """The later half in `folds` blocks; fold 0 is the last block. The earlier half is never selected on, so that no
    fold trains on much less than another."""
    half = len(pool) // 2
    _require_fold(rule, half)
    block = np.array_split(np.arange(len(pool) - half, len(pool)), rule.folds)[rule.folds - 1 - rule.fold]
    end = int(block[0]) - rule.gap
    if end < 1:
        raise DataError(
            f"gap {rule.gap} leaves nothing to train on before sequence {block[0]} of {len(pool)}; lower it"
        )
    return pool.index[:end], pool.index[block]


def _require_fold(rule: SplitRule, sequences: int) -> None:
    if not 2 <= rule.folds <= sequences:
        raise DataError(f"{sequences} sequences cannot be divided into {rule.folds} folds; choose 2 to {sequences}")
    if not 0 <= rule.fold < rule.folds:
        raise DataError(f"there is no fold {rule.fold}: {rule.folds} folds are numbered from 0")


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=16).digest()
