"""Seconds in which a run computes, without those of the runs beside it."""

import pytest

from lobmodels.training import stopwatch
from lobmodels.training.stopwatch import Stopwatch


def test_pauses_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the reset on, all but the time between pause and resume."""
    now = [100.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    clock = Stopwatch()
    clock.reset()
    now[0] += 2.0
    assert clock.seconds == 2.0
    clock.pause()
    now[0] += 50.0
    assert clock.seconds == 2.0
    clock.resume()
    now[0] += 1.0
    assert clock.seconds == 3.0
    clock.reset()
    assert clock.seconds == 0.0
