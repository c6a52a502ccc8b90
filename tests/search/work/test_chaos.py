"""Workers under random faults: every trial ends exactly once, with the value it would have had, and nothing is left.

`LOBTUNA_SOAK_SECONDS` sets the length of the long run (600 s; an hour for a release) and of the one with a bucket (two
minutes), `LOBTUNA_SOAK_SEED` their faults.
"""

import contextlib
import os
from pathlib import Path

import pytest

from tests.search.work.aftermath import Foreign, audit, events_of
from tests.search.work.chaos import Attack
from tests.search.work.surroundings import surroundings
from tests.wallclock import COMPILER, compile_library, preloaded

LONG = float(os.environ.get("LOBTUNA_SOAK_SECONDS", "600"))
BUCKET = float(os.environ.get("LOBTUNA_SOAK_SECONDS", "120"))
SEED = int(os.environ.get("LOBTUNA_SOAK_SEED", "11"))
SOAK = [pytest.mark.soak, pytest.mark.timeout(0)]


@pytest.mark.parametrize(
    ("workers", "seconds", "pause", "epoch", "with_bucket"),
    [
        pytest.param(3, 120.0, (0.5, 2.5), 0.5, False, marks=pytest.mark.timeout(600)),
        pytest.param(4, BUCKET, (0.3, 2.0), 0.5, True, marks=SOAK),
        pytest.param(8, LONG, (0.3, 2.6), 1.0, False, marks=SOAK),
    ],
    ids=["two-minutes", "bucket", "long"],
)
def test_a_fleet_under_attack(
    workers: int,
    seconds: float,
    pause: tuple[float, float],
    epoch: float,
    with_bucket: bool,
    small_data: Path,
    tmp_path: Path,
) -> None:
    """kill -9, SIGTERM, SIGSTOP past the grace, clocks that jump, full disks, restarts and crashes of server and
    pooler, a closed line, cut connections, gc at wrong times; a bucket that is away, refuses, or loses its answers."""
    with contextlib.ExitStack() as stack:
        if COMPILER is not None:
            stack.enter_context(preloaded(compile_library(tmp_path)))
        around = stack.enter_context(surroundings(with_bucket))
        foreign = Foreign(around.direct, around.kept.folder, around.bucket)
        options = {"workers": workers, "seed": SEED, "epoch": epoch, "clocks": COMPILER is not None}
        attack = stack.enter_context(contextlib.closing(Attack(around, small_data, tmp_path, **options)))
        attack.run(seconds, pause)
        print(f"faults: {attack.faults.counts.total()} {dict(attack.faults.counts)}; not tried: {around.lacking}")
        print(f"plans of replicates: {attack.plans}")
        print(f"workers: {len(attack.everybody)}, {events_of(attack.everybody)}, ends {dict(attack.ended)}")
        print(f"audit: {audit(around.direct, small_data, foreign)}")
