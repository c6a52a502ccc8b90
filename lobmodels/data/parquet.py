"""Reads the challenge's parquet in bounded memory and names everything in it that breaks the format."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lobmodels.errors import DataError, Remedy
from lobmodels.schema import LOB, Schema

SEQUENCES_PER_BLOCK = 64  # held at once: 64,000 rows of the challenge, about 9 MB
MOST_ROWS = 1_000_000  # of a block, where sequences are long
BAD_RUNS_FOLLOWED = 1000  # a shuffled file breaks at every row; after so many breaks, its rows count as unordered


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a file."""

    first_row: int
    seq_ix: NDArray[np.int64]  # (R,)
    step: NDArray[np.int64]  # (R,)
    scored: NDArray[np.bool_]  # (R,)
    values: NDArray[np.float32]  # (R, features + targets), a view that the next block overwrites


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open `path`; `DataError` if it is missing, a folder, unreadable or not a parquet file."""
    if not path.exists():
        raise DataError(f"{path}: no such file", remedy=Remedy.WRITE_EXAMPLE_DATA)
    if path.is_dir():
        raise DataError(f"{path}: a folder where a parquet file is expected")
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        size = path.stat().st_size
        what = "an empty file (0 bytes)" if size == 0 else "not a parquet file, or a truncated one"
        raise DataError(f"{path}: {what}; download or write it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def rows_of_block(schema: Schema) -> int:
    """Rows that are held at once: whole sequences where they have one length."""
    return min(SEQUENCES_PER_BLOCK, max(1, MOST_ROWS // schema.sequence_length)) * schema.sequence_length


def blocks(file: pq.ParquetFile, path: Path, schema: Schema = LOB) -> Iterator[Block]:
    """All rows of `file` in order, `SEQUENCES_PER_BLOCK` sequences at a time whatever its row groups are.

    Missing values become NaN (ids: -1, flags: false). Raises `DataError` where the file is damaged inside.
    """
    size = rows_of_block(schema)
    numbers = schema.features + schema.targets
    ids = np.empty((2, size), np.int64)
    scored = np.empty(size, np.bool_)
    values = np.empty((size, len(numbers)), np.float32)
    filled = first = 0
    try:
        for batch in file.iter_batches(batch_size=size, columns=list(schema.columns)):
            done = 0
            while done < len(batch):
                part = batch.slice(done, size - filled)
                here = slice(filled, filled + len(part))
                ids[0, here] = part[schema.sequence_column].cast(pa.int64()).fill_null(-1).to_numpy()
                ids[1, here] = part[schema.step_column].cast(pa.int64()).fill_null(-1).to_numpy()
                scored[here] = _flags(part, ids[1, here], schema)
                with np.errstate(over="ignore"):  # a number too large for float32 becomes inf, which is told
                    for j, name in enumerate(numbers):
                        values[here, j] = part[name].to_numpy(zero_copy_only=False)  # nulls arrive as NaN
                filled, done = filled + len(part), done + len(part)
                if filled == size:
                    yield Block(first, ids[0], ids[1], scored, values)
                    first, filled = first + size, 0
    except (pa.ArrowException, OSError) as error:
        message = str(error).splitlines()[0]
        raise DataError(f"{path}: damaged after row {first + filled}: {message}; download it again") from error
    if filled:
        yield Block(first, ids[0, :filled], ids[1, :filled], scored[:filled], values[:filled])


def _flags(part: pa.RecordBatch, step: NDArray[np.int64], schema: Schema) -> NDArray[np.bool_]:
    """Which rows are scored, as the file says; by their step where it has no column for it."""
    if schema.scored_column is None:
        return step >= schema.warmup_steps
    flags: NDArray[np.bool_] = part[schema.scored_column].fill_null(False).to_numpy(zero_copy_only=False)
    return flags


@dataclass
class RowAudit:
    """Collects what is wrong with a file's rows, block by block; each kind once, with its first place."""

    schema: Schema = LOB
    rows: int = 0
    scored: int = 0
    seen: dict[int, int] = field(default_factory=dict)  # seq_ix -> first row
    _found: dict[str, list[Any]] = field(default_factory=dict)  # kind -> [count, first message]
    _cells: dict[tuple[str, str], list[int]] = field(default_factory=dict)  # (column, NaN | inf) -> [count, first row]
    _open: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None  # rows of a run that may go on
    _lost_at: int | None = None

    def add(self, block: Block) -> None:
        """Check the next rows."""
        self.rows += len(block.seq_ix)
        self.scored += int(block.scored.sum())
        self._check_values(block)
        self._check_flags(block)
        if self._lost_at is None and not self._whole_sequences(block):
            self._check_runs(block)

    def finish(self) -> list[str]:
        """All problems, most telling first; empty for a file that keeps the format."""
        if self._open is not None:
            self._check_run(*self._open)
            self._open = None
        if self.rows == 0:
            return ["no rows: the file holds column names only"]
        found = dict(self._found)
        if "split" in found or self._lost_at is not None:
            found.pop("length", None)  # pieces of split sequences: one cause, one problem
        if "flag" in found:
            found["flag"] = found.pop("flag")  # last: often the steps are to blame
        problems = [
            message if count == 1 else f"{message} ({count:,} such places)" for count, message in found.values()
        ]
        if self._lost_at is not None:
            problems.append(f"the order of rows was not followed past row {self._lost_at:,}")
        for (column, what), (count, row) in self._cells.items():
            problems.append(f"column {column} holds {count:,} {what}, first in row {row:,}: the format has none")
        return problems

    def lengths(self) -> list[int]:
        """Steps of each sequence that was seen, from the rows in which they begin."""
        starts = sorted(self.seen.values())
        return [b - a for a, b in itertools.pairwise([*starts, self.rows])]

    def _note(self, kind: str, message: str) -> None:
        entry = self._found.setdefault(kind, [0, message])
        entry[0] += 1

    def _check_values(self, block: Block) -> None:
        if np.isfinite(block.values).all():
            return
        names = self.schema.features + self.schema.targets
        for what, bad in (("NaN", np.isnan(block.values)), ("inf", np.isinf(block.values))):
            for j in np.flatnonzero(bad.any(0)):
                first = block.first_row + int(bad[:, j].argmax())
                entry = self._cells.setdefault((names[j], what), [0, first])
                entry[0] += int(bad[:, j].sum())

    def _check_flags(self, block: Block) -> None:
        wrong = block.scored != (block.step >= self.schema.warmup_steps)
        if not wrong.any():
            return
        i = int(wrong.argmax())
        flag = str(bool(block.scored[i])).lower()
        message = (
            f"{self.schema.scored_column} is {flag} in row {block.first_row + i:,} "
            f"(step {block.step[i]}): it must be true from step {self.schema.warmup_steps} on, false before"
        )
        entry = self._found.setdefault("flag", [0, message])
        entry[0] += int(wrong.sum())

    def _whole_sequences(self, block: Block) -> bool:
        """Whether `block` is new whole sequences in order; the fast path of a good file."""
        length = self.schema.sequence_length
        if self._open is not None or self.schema.variable_length or len(block.seq_ix) % length:
            return False
        ids = block.seq_ix.reshape(-1, length)
        heads = ids[:, 0].tolist()
        in_order = (block.step.reshape(-1, length) == np.arange(length)).all() and (ids == ids[:, :1]).all()
        if not in_order or len(set(heads)) != len(heads) or any(head in self.seen for head in heads):
            return False
        self.seen.update((head, block.first_row + i * length) for i, head in enumerate(heads))
        return True

    def _check_runs(self, block: Block) -> None:
        """Follow runs of one seq_ix, however the blocks cut them."""
        start, ids, steps = self._open or (block.first_row, block.seq_ix[:0], block.step[:0])
        ids, steps = np.concatenate([ids, block.seq_ix]), np.concatenate([steps, block.step])
        cuts = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist()]
        for a, b in itertools.pairwise(cuts):
            self._check_run(start + a, ids[a:b], steps[a:b])
            if sum(count for count, _ in self._found.values()) > BAD_RUNS_FOLLOWED and "split" in self._found:
                self._lost_at, self._open = start + b, None
                return
        last = cuts[-1]
        self._open = (start + last, ids[last:].copy(), steps[last:].copy())

    def _check_run(self, row: int, ids: NDArray[np.int64], steps: NDArray[np.int64]) -> None:
        """One run of rows with the same seq_ix, beginning in `row`."""
        name, length = int(ids[0]), self.schema.sequence_length
        if name in self.seen:
            self._note(
                "split",
                f"rows are shuffled: sequence {name} (row {self.seen[name]:,}) goes on in row {row:,}",
            )
            return
        self.seen[name] = row
        if self.schema.variable_length:
            self._check_length(name, row, len(steps))
            length = len(steps)
        expected = np.arange(length)
        if np.array_equal(steps, expected):
            return
        order = np.argsort(steps, kind="stable")
        repeats = np.flatnonzero(np.diff(steps[order]) == 0)
        if len(repeats):
            at = int(order[repeats + 1].min())
            self._note("duplicate", f"sequence {name} repeats step {steps[at]} in row {row + at:,}")
        elif len(steps) != length:
            self._note("length", f"sequence {name} (row {row:,}) has {len(steps)} steps, not {length}")
        elif np.array_equal(steps[order], expected):
            at = int((steps != expected).argmax())
            self._note(
                "order",
                f"rows are shuffled: sequence {name} has step {steps[at]} in row {row + at:,}, not {at}",
            )
        else:
            at = int(((steps < 0) | (steps >= length)).argmax())
            self._note(
                "range",
                f"sequence {name} has step {steps[at]} in row {row + at:,}: steps run 0 to {length - 1}",
            )

    def _check_length(self, name: int, row: int, steps: int) -> None:
        """Where lengths differ: not longer than the schema allows, and not over before anything is scored."""
        most, warmup = self.schema.sequence_length, self.schema.warmup_steps
        if steps > most:
            self._note(
                "long", f"sequence {name} (row {row:,}) has {steps} steps, more than at_most {most} of the schema"
            )
        if steps <= warmup:
            self._note(
                "short",
                f"sequence {name} (row {row:,}) has {steps} steps, all of them in the warm-up of {warmup}: nothing of "
                "it would be scored; leave it out",
            )
