"""Workers under random faults: every trial ends exactly once, with the value it would have had, and nothing is left.

The long run takes ten minutes (an hour for a release), those with a bucket and with several runs at once two.
"""

from pathlib import Path

import pytest

from tests.search.work.attack import asked_for, attack
from tests.search.work.chaos import Fleet

SOAK = [pytest.mark.soak, pytest.mark.timeout(0)]


@pytest.mark.parametrize(
    ("fleet", "seconds", "pause", "with_bucket"),
    [
        pytest.param(Fleet(3, epoch=0.5), 120.0, (0.5, 2.5), False, marks=pytest.mark.timeout(600)),
        pytest.param(Fleet(4, epoch=0.5), asked_for(120.0), (0.3, 2.0), True, marks=SOAK),
        pytest.param(Fleet(3, epoch=0.2, runs=3), asked_for(120.0), (0.3, 2.0), False, marks=SOAK),
        pytest.param(Fleet(8, epoch=1.0), asked_for(600.0), (0.3, 2.6), False, marks=SOAK),
    ],
    ids=["two-minutes", "bucket", "several-runs", "long"],
)
def test_a_fleet_under_attack(
    fleet: Fleet, seconds: float, pause: tuple[float, float], with_bucket: bool, small_data: Path, tmp_path: Path
) -> None:
    """kill -9, SIGTERM, SIGSTOP past the grace, clocks that jump, full disks, restarts and crashes of server and
    pooler, a closed line, cut connections, gc at wrong times; a bucket that is away, refuses, or loses its answers."""
    attack(fleet, seconds, pause, small_data, tmp_path, with_bucket)
