"""An attack on a fleet from its surroundings to the audit, with what was injected and found as lines of output.

`LOBTUNA_SOAK_SECONDS` sets the length of a long one, `LOBTUNA_SOAK_SEED` the faults of all.
"""

import contextlib
import os
from pathlib import Path

from tests.search.work.aftermath import Foreign, audit, events_of
from tests.search.work.chaos import Attack, Fleet
from tests.search.work.surroundings import surroundings
from tests.wallclock import COMPILER, compile_library, preloaded

SEED = int(os.environ.get("LOBTUNA_SOAK_SEED", "11"))


def asked_for(seconds: float) -> float:
    """The length of a long attack: so many seconds, if the environment names no other."""
    return float(os.environ.get("LOBTUNA_SOAK_SECONDS", seconds))


def attack(
    fleet: Fleet, seconds: float, pause: tuple[float, float], data: Path, folder: Path, with_bucket: bool = False
) -> None:
    """Attack `fleet` for so many seconds, with pauses of so many between two faults, and check every promise."""
    with contextlib.ExitStack() as stack:
        if COMPILER is not None:
            stack.enter_context(preloaded(compile_library(folder)))
        around = stack.enter_context(surroundings(with_bucket))
        foreign = Foreign(around.direct, around.kept.folder, around.bucket)
        made = Attack(around, data, folder, fleet, seed=SEED, clocks=COMPILER is not None)
        under = stack.enter_context(contextlib.closing(made))
        under.run(seconds, pause)
        print(f"faults: {under.faults.counts.total()} {dict(under.faults.counts)}; not tried: {around.lacking}")
        print(f"plans of replicates: {under.plans}")
        print(f"workers: {len(under.everybody)}, {events_of(under.everybody)}, ends {dict(under.ended)}")
        print(f"audit: {audit(around.direct, data, foreign, fleet.device)}")
