"""Workers under random faults: every trial ends exactly once, with the value it would have had, and nothing is left.

`LOBTUNA_SOAK_SECONDS` sets the length of the long run (600 s; an hour for a release).
"""

import os
from pathlib import Path

import pytest

from tests.search.work.chaos import Attack
from tests.servers import Postgres

LONG = float(os.environ.get("LOBTUNA_SOAK_SECONDS", "600"))


@pytest.mark.parametrize(
    ("workers", "seconds", "pause"),
    [(3, 20.0, (0.2, 1.0)), pytest.param(8, LONG, (0.5, 5.0), marks=[pytest.mark.soak, pytest.mark.timeout(0)])],
    ids=["short", "long"],
)
def test_a_fleet_under_attack(
    workers: int,
    seconds: float,
    pause: tuple[float, float],
    own_postgres: Postgres,
    small_data: Path,
    tmp_path: Path,
) -> None:
    """kill -9, SIGSTOP past the grace, restarts and crashes of the server, a closed proxy, cut connections."""
    attack = Attack(own_postgres, small_data, tmp_path, workers, seed=11)
    attack.run(seconds, pause)
    print({**attack.audit(), **attack.counts})
