"""Imports FI-2010, the benchmark of Ntakaris et al. (2018), from its text files as they are distributed.

A file has 149 rows of numbers and one column an event: 40 values of the order book (for each of ten levels ask price,
ask volume, bid price, bid volume), 104 derived ones, and five rows of labels, the move of the mid price over the next
10, 20, 30, 50 and 100 events: 1 up, 2 stationary, 3 down.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lobmodels.data.book import book_columns
from lobmodels.data.cut import Cut, cut_rows, starts_of, write_cut
from lobmodels.errors import DataError
from lobmodels.schema import Schema

LEVELS, FEATURES = 10, 144
HORIZONS = (10, 20, 30, 50, 100)  # events ahead
BOOK = book_columns(LEVELS)
DERIVED = tuple(f"u{i}" for i in range(len(BOOK) + 1, FEATURES + 1))  # by their row in the file, counted from 1


def schema_of(length: int, warmup: int, *, book_only: bool = False) -> Schema:
    """The schema of imported data: targets are 1, 0 and -1, scored by the plain Pearson correlation."""
    groups = (("order book", BOOK),) if book_only else (("order book", BOOK), ("derived by the authors", DERIVED))
    if warmup < 0 or warmup >= length:
        message = f"warmup={warmup} leaves nothing of {length} steps to score; make it smaller than the length"
        raise DataError(message, arguments=["warmup", "length"])
    return Schema(
        features=tuple(name for _, names in groups for name in names),
        targets=tuple(f"move_{horizon}" for horizon in HORIZONS),
        sequence_length=length,
        warmup_steps=warmup,
        groups=groups,
        scored_column=None,
        metric="pearson",
    )


def read_file(path: Path, *, book_only: bool = False) -> NDArray[np.float32]:
    """The events of one text file, (events, features + 5), labels turned into 1 (up), 0 and -1 (down).

    Raises `DataError` for a file of another shape, or something that is no number or no label.
    """
    kept = len(BOOK) if book_only else FEATURES
    rows: list[NDArray[np.float32]] = []
    number = 0
    try:
        with path.open(encoding="ascii") as file:
            for line in file:
                if line.strip():
                    number += 1
                    if number <= kept or number > FEATURES:
                        rows.append(_numbers(path, number, line))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not the text of FI-2010, whose files hold numbers alone; unpack it first") from None
    expected = FEATURES + len(HORIZONS)
    if number != expected:
        raise DataError(
            f"{path}: {number} rows, and a file of FI-2010 has {expected}: {FEATURES} of features, 5 of labels"
        )
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise DataError(f"{path}: rows hold {min(widths):,} to {max(widths):,} events; all must hold as many")
    values = np.stack(rows, 1)
    labels = values[:, kept:]
    if not np.isin(labels, (1, 2, 3)).all():
        wrong = labels[~np.isin(labels, (1, 2, 3))][0]
        raise DataError(f"{path}: a label is {wrong:g}; labels are 1 (up), 2 (stationary) or 3 (down)")
    values[:, kept:] = 2 - labels
    return values


def _numbers(path: Path, number: int, line: str) -> NDArray[np.float32]:
    try:
        row = np.array(line.split(), np.float32)
    except ValueError as error:
        raise DataError(f"{path}: row {number}: {str(error)[:80]}; rows hold numbers and spaces alone") from None
    if not np.isfinite(row).all():
        raise DataError(f"{path}: row {number}, event {int((~np.isfinite(row)).argmax()) + 1} is not a finite number")
    return row


def import_files(train: list[Path], valid: list[Path], output: Path, schema: Schema, cut: Cut) -> tuple[int, ...]:
    """Write a data folder from text files; returns the numbers of train and of validation sequences. No sequence goes
    from one file into another. Without `valid` the last `cut.valid_share` of the train events is for validation."""
    book_only = len(schema.features) == len(BOOK)
    parts = [read_file(path, book_only=book_only) for path in (*train, *valid)]
    values = np.concatenate(parts)
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    if not valid:
        return write_cut(output, values, schema, cut_rows(len(values), owner, schema, cut), cut.overwrite)
    edges = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).tolist()
    whole = [starts_of(a, b, schema, cut.gap) for a, b in itertools.pairwise(edges)]
    found = (
        [one for part in whole[: len(train)] for one in part],
        [one for part in whole[len(train) :] for one in part],
    )
    return write_cut(output, values, schema, found, cut.overwrite)
