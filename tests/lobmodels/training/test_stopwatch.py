"""Seconds in which a run computes, without those of the runs beside it."""

from collections.abc import Generator

import pytest

from lobmodels.training import stopwatch
from lobmodels.training.stopwatch import Stopwatch


def test_pauses_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the time inside the generator counts, as it can be read there and afterwards; each job begins at 0."""
    now, clock = [100.0], Stopwatch()
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    seen: list[float] = []

    def job() -> Generator[None, None, str]:
        now[0] += 2.0
        yield
        now[0] += 1.0
        seen.append(clock.seconds)
        return "done"

    for _ in range(2):
        counted = clock.counting(job())
        next(counted)
        now[0] += 50.0
        assert clock.seconds == 2.0
        with pytest.raises(StopIteration) as end:
            next(counted)
        assert end.value.value == "done" and seen[-1] == 3.0
