"""What is said of workers equals sums over their trials, and device speeds are those that the study was made with."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from search.report.fleet import OUTAGE, section, speeds, workers
from search.report.record import Study, Trial

START = datetime(2026, 3, 2, 8)


def at(trial: Trial, worker: str, begin: float, end: float) -> Trial:
    """The trial as run by `worker` between two minutes of the day."""
    start, stop = START + timedelta(minutes=begin), START + timedelta(minutes=end)
    return replace(trial, worker=worker, start=start, end=stop, imported=None)


def test_busy_idle_and_away(known: Study) -> None:
    """A short pause is idling, a long one absence; whoever worked most comes first."""
    trial, away = known.finished[0], 10 + OUTAGE.seconds / 60
    trials = [at(trial, "a:1", 0, 30), at(trial, "a:1", 40, 70), at(trial, "a:1", 70 + away, 80 + away)]
    first, second = workers([*trials, at(trial, "b:2", 0, 15)])
    assert (first.worker, first.trials, first.busy_hours) == ("a:1", 3, pytest.approx(70 / 60))
    assert first.present_hours == pytest.approx(80 / 60) and first.busy == pytest.approx(70 / 80)
    assert (first.first, first.last) == (START, START + timedelta(minutes=80 + away))
    assert (second.worker, second.busy) == ("b:2", 1.0)


def test_what_was_not_run_here_is_left_out(known: Study) -> None:
    """Imported trials, and those without a worker or an end, are nobody's work."""
    trial = known.finished[0]
    absent = [replace(trial, imported="joint#3"), replace(trial, worker=""), replace(trial, end=None)]
    assert workers(absent) == []
    assert section(replace(known, trials=(), replicates=())).text.startswith("No trial that has ended names its worker")


def test_speeds_are_the_devices(known: Study) -> None:
    """The study was made with an L4 that needs .6 of a T4's time; size of the networks is taken out."""
    found = speeds(known.trials)
    assert found["Tesla T4"] == 1.0
    assert found["NVIDIA L4"] == pytest.approx(1 / 0.6, rel=0.1)
    assert speeds([t for t in known.trials if t.device == "Tesla T4"]) == {}


def test_the_table_is_complete(known: Study) -> None:
    """Every trial that ended is somebody's."""
    (table,) = section(known).tables
    assert sum(table.column("trials")) == len([t for t in known.trials if t.worker and t.start and t.end])
