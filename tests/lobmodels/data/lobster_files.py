"""Message and order-book files in the format of LOBSTER."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NAME = "TICK_{day}_34200000_57600000_{kind}_{levels}.csv"


def events(count: int, levels: int = 3, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Messages (N, 6) and books (N, 4 * levels): a mid price that the imbalance of the best sizes pulls."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 500, (count, levels, 2))
    pull = np.sign(sizes[:, 0, 1] - sizes[:, 0, 0])
    mid = 1_000_000 + 100 * np.cumsum(np.where(rng.random(count) < 0.4, pull, 0))
    book = np.empty((count, levels, 4), np.int64)
    for level in range(levels):
        book[:, level] = np.stack(
            [mid + 100 * (level + 1), sizes[:, level, 0], mid - 100 * (level + 1), sizes[:, level, 1]], 1
        )
    kind, direction = rng.choice([1, 2, 3, 4, 5], count), rng.choice([-1, 1], count)
    time = 34_200 + np.cumsum(rng.exponential(0.1, count))
    messages = np.stack(
        [time, kind, np.arange(count), rng.integers(1, 300, count), mid - 100 * direction, direction], 1
    )
    return messages, book.reshape(count, -1)


def write_day(
    folder: Path, messages: NDArray[np.float64], book: NDArray[np.int64], day: str = "2024-01-02"
) -> tuple[Path, Path]:
    """The two files of a day, as they are distributed: no header, times with nine digits."""
    levels = book.shape[1] // 4
    paths = [folder / NAME.format(day=day, kind=kind, levels=levels) for kind in ("message", "orderbook")]
    lines = [f"{row[0]:.9f},{','.join(str(int(value)) for value in row[1:])}\n" for row in messages]
    paths[0].write_text("".join(lines), encoding="ascii")
    paths[1].write_text("".join(",".join(map(str, row)) + "\n" for row in book.tolist()), encoding="ascii")
    return paths[0], paths[1]
