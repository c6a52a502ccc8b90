"""Workers under random faults: every trial ends exactly once, with the value it would have had, and nothing is left.

`LOBTUNA_SOAK_SECONDS` sets the length of the long run (600 s; an hour for a release) and of those with a bucket and
with several runs at once (two minutes), `LOBTUNA_SOAK_SEED` their faults.
"""

import os
from pathlib import Path

import pytest

from tests.search.work.attack import attack
from tests.search.work.chaos import Fleet

LONG = float(os.environ.get("LOBTUNA_SOAK_SECONDS", "600"))
BUCKET = float(os.environ.get("LOBTUNA_SOAK_SECONDS", "120"))
SEED = int(os.environ.get("LOBTUNA_SOAK_SEED", "11"))
SOAK = [pytest.mark.soak, pytest.mark.timeout(0)]


@pytest.mark.parametrize(
    ("fleet", "seconds", "pause", "with_bucket"),
    [
        pytest.param(Fleet(3, epoch=0.5), 120.0, (0.5, 2.5), False, marks=pytest.mark.timeout(600)),
        pytest.param(Fleet(4, epoch=0.5), BUCKET, (0.3, 2.0), True, marks=SOAK),
        pytest.param(Fleet(3, epoch=0.2, runs=3), BUCKET, (0.3, 2.0), False, marks=SOAK),
        pytest.param(Fleet(8, epoch=1.0), LONG, (0.3, 2.6), False, marks=SOAK),
    ],
    ids=["two-minutes", "bucket", "several-runs", "long"],
)
def test_a_fleet_under_attack(
    fleet: Fleet, seconds: float, pause: tuple[float, float], with_bucket: bool, small_data: Path, tmp_path: Path
) -> None:
    """kill -9, SIGTERM, SIGSTOP past the grace, clocks that jump, full disks, restarts and crashes of server and
    pooler, a closed line, cut connections, gc at wrong times; a bucket that is away, refuses, or loses its answers."""
    attack(fleet, seconds, pause, small_data, tmp_path, seed=SEED, with_bucket=with_bucket)
