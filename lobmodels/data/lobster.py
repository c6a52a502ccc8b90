"""Imports files in the format of LOBSTER: a message file and an order-book file for each day, one line an event each.

An order-book file has four columns a level: ask price, ask size, bid price, bid size, prices in 1/10,000 of the
currency; an empty level has the price 9999999999 or -9999999999 and the size 0. A message file has the time in seconds,
the type of the event, the order's number, size, price and direction (1 of a buy order, -1 of a sell order). Neither has
a header. Line k of the order book is the book after event k. Source: https://lobsterdata.com/info/DataStructure.php.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from lobmodels.data.book import book_columns
from lobmodels.data.cut import Cut, starts_of, write_cut
from lobmodels.errors import DataError
from lobmodels.schema import Schema

EMPTY = 9_999_999_999  # price of a level that nobody quotes, negative on the bid
UNITS = 10_000  # basis points of a price; also what prices are multiplied by in the files
HALT = 7  # type of the message that stops or resumes trading
MESSAGE = ("seconds", "event_size", "event_price", "event_direction")  # of the event that led to this book
EVENTS = {1: "submitted", 2: "reduced", 3: "deleted", 4: "executed", 5: "executed_hidden"}  # 1 in that column, 0 else
HORIZONS = (10, 50, 100)  # events ahead
FIELDS = 6  # of a message; a seventh, the market participant, is not read

Rows = NDArray[np.int64]
Part = tuple[int, int]  # first row, row behind the last one


@dataclass(frozen=True)
class Day:
    """One pair of files. Rows at which the best level of a side is empty, or trading halts, are in no part: `parts` are
    the rows between them, and nothing looks from one into another."""

    prices: Rows  # (N, 2 * levels): ask and bid of each level, in 1/10,000; of an empty level the next better one's
    sizes: Rows  # (N, 2 * levels)
    messages: NDArray[np.float64]  # (N, 6)
    parts: tuple[Part, ...]

    @property
    def mid(self) -> NDArray[np.float64]:
        """Mean of the best ask and bid (N,), in 1/10,000."""
        return np.asarray(self.prices[:, :2].mean(1))


def schema_of(
    length: int, warmup: int, levels: int, horizons: Sequence[int] = HORIZONS, *, book_only: bool = False
) -> Schema:
    """The schema of imported data: targets are moves of the mid price in basis points, scored by the plain Pearson
    correlation. Raises `DataError` for a warm-up or horizons that make no sense."""
    if warmup < 0 or warmup >= length:
        message = f"warmup={warmup} leaves nothing of {length} steps to score; make it smaller than the length"
        raise DataError(message, arguments=["warmup", "length"])
    if not horizons or min(horizons) < 1 or len(set(horizons)) < len(horizons):
        shown = ", ".join(map(str, horizons)) or "none"
        raise DataError(f"horizon={shown}: name events ahead, from 1 on, each once", arguments=["horizon"])
    book, messages = ("order book", book_columns(levels)), ("event", (*MESSAGE, *EVENTS.values()))
    groups = (book,) if book_only else (book, messages)
    return Schema(
        features=tuple(name for _, names in groups for name in names),
        targets=tuple(f"move_{horizon}" for horizon in horizons),
        sequence_length=length,
        warmup_steps=warmup,
        groups=groups,
        scored_column=None,
        metric="pearson",
        clip=None,
    )


def pair_of(path: Path) -> tuple[Path, Path]:
    """The message file and the order-book file of a day, from the path of either. Raises `DataError` where its name
    does not tell the other's, or one of them is not there."""
    for mine, other in (("_message_", "_orderbook_"), ("_orderbook_", "_message_")):
        if mine in path.name:
            second = path.with_name(path.name.replace(mine, other))
            for file in (path, second):
                if not file.is_file():
                    raise DataError(
                        f"{file}: no such file; a day is two files, ..._message_N.csv and ..._orderbook_N.csv"
                    )
            return (path, second) if mine == "_message_" else (second, path)
    raise DataError(f"{path}: name a file ..._message_N.csv or ..._orderbook_N.csv, as LOBSTER calls them")


def levels_of(path: Path) -> int:
    """Levels of the order book of a day, from the path of either of its files. Raises `DataError`."""
    _, book_file = pair_of(path)
    with book_file.open(encoding="latin-1") as file:
        columns = len(file.readline().split(","))
    if columns % 4:
        raise DataError(f"{book_file}: {columns} columns; an order book has four for each level")
    return columns // 4


def read_day(path: Path) -> Day:
    """One day from the path of either of its files. Raises `DataError` that names the file, what is wrong and where."""
    message_file, book_file = pair_of(path)
    messages, book = _table(message_file), _table(book_file)
    if len(messages) != len(book):
        raise DataError(
            f"{book_file} has {len(book):,} lines and {message_file.name} {len(messages):,}: both have one an event"
        )
    _check_messages(message_file, messages)
    if book.shape[1] % 4:
        raise DataError(f"{book_file}: {book.shape[1]} columns; an order book has four for each level")
    values = book.astype(np.int64)
    prices, sizes = values[:, ::2].copy(), values[:, 1::2].copy()
    empty = np.abs(prices) >= EMPTY
    usable = ~empty[:, :2].any(1) & (messages[:, 1] != HALT)
    _check_book(book_file, prices, sizes, usable)
    sizes[empty] = 0
    for column in range(2, prices.shape[1]):
        prices[:, column] = np.where(empty[:, column], prices[:, column - 2], prices[:, column])
    return Day(prices, sizes, messages[:, :FIELDS], _parts(usable))


def _check_messages(path: Path, messages: NDArray[np.float64]) -> None:
    if messages.shape[1] not in (FIELDS, FIELDS + 1):
        raise DataError(f"{path}: {messages.shape[1]} columns, and a message has {FIELDS}")
    late = np.flatnonzero(np.diff(messages[:, 0]) < 0)
    if len(late):
        raise DataError(f"{path}: line {late[0] + 2} is earlier than the one before; events must be in order")


def _check_book(path: Path, prices: Rows, sizes: Rows, usable: NDArray[np.bool_]) -> None:
    columns = "columns are ask price, ask size, bid price, bid size of each level"
    if (sizes < 0).any():
        raise DataError(f"{path}: line {int((sizes < 0).any(1).argmax()) + 1} holds a negative size; {columns}")
    crossed = np.flatnonzero(usable & (prices[:, 0] < prices[:, 1]))
    if len(crossed):
        ask, bid = prices[crossed[0], :2]
        raise DataError(f"{path}: in line {crossed[0] + 1} the best ask {ask} is below the best bid {bid}; {columns}")


def _table(path: Path) -> NDArray[np.float64]:
    """The numbers of a file without a header, (lines, columns). What a seventh column of messages holds becomes 0."""
    options = pa.csv.ReadOptions(autogenerate_column_names=True)
    try:
        table = pa.csv.read_csv(path, read_options=options)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path}: not lines of numbers with commas between: {' '.join(str(error).split())[:120]}"
        ) from None
    columns = []
    for i, column in enumerate(table.columns):
        if i == FIELDS and table.num_columns == FIELDS + 1:
            columns.append(np.zeros(table.num_rows))
        elif not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)) or column.null_count:
            raise DataError(f"{path}: column {i + 1} holds something that is no number; the files have no header")
        else:
            columns.append(column.to_numpy().astype(np.float64))
    return np.stack(columns, 1)


def _parts(usable: NDArray[np.bool_]) -> tuple[Part, ...]:
    """The rows between those that are not usable."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], usable, [False]]).astype(np.int8)))
    return tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))


def import_files(
    train: Sequence[Path], valid: Sequence[Path], output: Path, schema: Schema, cut: Cut
) -> tuple[int, ...]:
    """Write a data folder from the files of some days; returns the numbers of train and of validation sequences.

    Prices are basis points from the mid price of their sequence's first row, targets basis points from the mid price of
    their own row. Every target's future lies in its own part of the day and in no other sequence. Without `valid` the
    last `cut.valid_share` of the train events is for validation. Raises `DataError`.
    """
    ahead = tuple(int(name.removeprefix("move_")) for name in schema.targets)
    if cut.gap < max(ahead):
        message = (
            f"gap={cut.gap} is less than horizon={max(ahead)}: targets would look into the next sequence; enlarge it"
        )
        raise DataError(message, arguments=["gap", "horizon"])
    days = [read_day(path) for path in (*train, *valid)]
    for path, day in zip((*train, *valid), days, strict=True):
        if day.prices.shape[1] != days[0].prices.shape[1]:
            levels = (day.prices.shape[1] // 2, days[0].prices.shape[1] // 2)
            raise DataError(
                f"{path}: {levels[0]} levels, and the first day has {levels[1]}; all days must have as many"
            )
    starts = np.concatenate([[0], np.cumsum([len(day.prices) for day in days])]).tolist()
    border = starts[len(train)] if valid else round(starts[-1] * (1 - cut.valid_share))
    parts = [(a + start, b + start) for start, day in zip(starts, days, strict=False) for a, b in day.parts]
    behind = border if valid else border + cut.gap  # between two days nothing is shared
    sequences = (
        [one for a, b in parts for one in starts_of(a, min(border, b - max(ahead)), schema, cut.gap)],
        [one for a, b in parts for one in starts_of(max(a, behind), b - max(ahead), schema, cut.gap)],
    )
    values = np.concatenate([_values(day, schema, ahead) for day in days])
    mids = np.concatenate([day.mid for day in days])
    for a, b in (*sequences[0], *sequences[1]):
        _relative_prices(values[a:b], mids[a], schema)
    return write_cut(output, values.astype(np.float32), schema, sequences, cut.overwrite)


def _values(day: Day, schema: Schema, ahead: Sequence[int]) -> NDArray[np.float64]:
    """Features and targets (N, columns) of a day, prices in 1/10,000 as they are. Targets of the last rows are 0 and in
    no sequence."""
    count, width = day.prices.shape
    book = np.stack([day.prices, day.sizes], 2).reshape(count, 2 * width).astype(np.float64)
    mid, moves = day.mid, np.zeros((count, len(ahead)))
    for j, steps in enumerate(ahead):
        moves[: count - steps, j] = (mid[steps:] / mid[: count - steps] - 1) * UNITS if steps < count else 0.0
    if len(schema.features) == book.shape[1]:
        return np.concatenate([book, moves], 1)
    time, kind, _, size, price, direction = day.messages.T
    since = np.diff(time, prepend=time[:1])
    events = [kind == number for number in EVENTS]
    return np.concatenate([book, np.stack([since, size, price, direction, *events], 1), moves], 1)


def _relative_prices(values: NDArray[np.float64], reference: float, schema: Schema) -> None:
    """Turn the prices of one sequence into basis points from a reference price, in place. An event without a price has
    0 there."""
    columns = [schema.features.index(name) for name in schema.column_groups["order book"][::2]]
    values[:, columns] = (values[:, columns] / reference - 1) * UNITS
    if "event_price" in schema.features:
        column = schema.features.index("event_price")
        price = values[:, column]
        values[:, column] = np.where(price > 0, (price / reference - 1) * UNITS, 0.0)
