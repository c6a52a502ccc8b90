"""Makes an ensemble fit the challenge's limits: leaves out the last members until size and measured time allow it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lobmodels.data import Sequences
from lobmodels.ensemble.bundle import MEGABYTE, Bundle, submission_bytes
from lobmodels.errors import BundleError
from lobmodels.scoring.submission import TEST_SEQUENCES, score_submission

MEASURED_SEQUENCES = 2


def members_within_size(make: Callable[[int], Bundle], count: int, max_mb: float) -> int:
    """The most leading members whose zip holds no more than `max_mb` (10^6 bytes); `make(n)` bundles the first n.

    Raises `BundleError` where not even one fits.
    """

    def size(n: int) -> float:
        return len(submission_bytes(make(n))) / MEGABYTE

    return _most(count, size, max_mb, "MB", "max_mb")


def members_within_time(make: Callable[[int], Bundle], count: int, max_seconds: float) -> int:
    """The most leading members that predict 1,500 sequences within `max_seconds`, start-up included, as measured here.

    Raises `BundleError` where not even one does.
    """
    return _most(count, lambda n: seconds_for_1500(make(n)), max_seconds, "s for 1,500 sequences", "max_seconds")


def seconds_for_1500(bundle: Bundle) -> float:
    """Measured as `score_submission` measures it, over a few sequences of noise."""
    rng, schema = np.random.default_rng(0), bundle.schema
    shape = (MEASURED_SEQUENCES, schema.sequence_length)
    noise = Sequences(
        features=rng.standard_normal((*shape, len(schema.features))).astype(np.float32),
        targets=np.zeros((*shape, len(schema.targets)), np.float32),
        seq_ix=np.arange(MEASURED_SEQUENCES),
        fingerprint="noise",
        source=Path("noise"),
        schema=schema,
    )
    with tempfile.TemporaryDirectory(prefix="lobtuna-measure-") as folder:
        path = Path(folder, "submission.zip")
        path.write_bytes(submission_bytes(bundle))
        score = score_submission(path, noise)
    # The median, so that short bursts of other work on this machine do not count.
    return score.startup_seconds + TEST_SEQUENCES * schema.sequence_length * score.us_per_step_median / 1e6


def _most(count: int, cost: Callable[[int], float], limit: float, unit: str, argument: str) -> int:
    """The largest n in 1..count with `cost(n) <= limit`, by bisection; costs grow with n."""
    full = cost(count)
    if full <= limit:
        return count
    low, high = 0, count  # cost(low) fits, cost(high) does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= limit else (low, middle)
    if low == 0:
        raise BundleError(
            f"not even one member fits into {argument}={limit:g}: it takes {cost(1):.3g} {unit}; raise `{argument}`, "
            "or choose smaller networks with `members`",
            arguments=[argument, "members"],
        )
    return low
