"""Which validation sequences choose runs, and which only report on them."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from lobmodels.errors import DataError

Indices = NDArray[np.int64]


def validation_split(n: int, report_fraction: float) -> tuple[Indices, Indices]:
    """Indices of the (selection, report) sequences among `n`, sorted; the same on every machine and version.

    The rank of each index's hash decides, not a random generator, whose stream may change between releases. Raises
    `DataError` for a fraction outside [0, 1), or a single sequence that would have to be split.
    """
    if not 0 <= report_fraction < 1:
        raise DataError(f"report_fraction {report_fraction} is not in [0, 1)")
    count = round(n * report_fraction)
    if report_fraction > 0:
        if n < 2:
            raise DataError(f"{n} validation sequence cannot be split; set report_fraction to 0 or add sequences")
        count = min(max(count, 1), n - 1)
    ranked = sorted(range(n), key=lambda i: hashlib.blake2b(str(i).encode(), digest_size=16).digest())
    report = np.sort(np.array(ranked[:count], dtype=np.int64))
    return np.setdiff1d(np.arange(n, dtype=np.int64), report), report
