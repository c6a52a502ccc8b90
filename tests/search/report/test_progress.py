"""The curve of the best score so far ends where the study ends, at its best score."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search.report.progress import in_order, section, trials_figure
from search.report.record import Study


def test_the_best_so_far(known: Study) -> None:
    """It never falls, rises exactly where a complete run is better than all before, and ends at the last trial."""
    ended = in_order(known)
    curve = next(trace for trace in trials_figure(known)["data"] if trace["name"] == "best so far")
    best, expected = float("-inf"), []
    for i, trial in enumerate(ended, 1):
        if trial.state == "complete" and trial.value is not None and trial.value > best:
            best = trial.value
            expected.append((i, best))
    if expected[-1][0] != len(ended):
        expected.append((len(ended), best))
    assert curve["x"] == [x for x, _ in expected]
    assert curve["y"] == pytest.approx([y for _, y in expected], rel=1e-5)
    assert known.best is not None and curve["y"][-1] == pytest.approx(known.best.value, rel=1e-5)


def test_every_run_has_its_dot(known: Study) -> None:
    """Runs below the picture are the only ones without one, and their number is said."""
    traces = {trace["name"]: trace for trace in trials_figure(known)["data"]}
    drawn = sum(len(traces[name]["x"]) for name in ("pruned", "complete"))
    text = section(known).figures[0].text
    hidden = len(known.scored) - drawn
    assert hidden >= 0
    assert (f"{hidden} run" in text) == (hidden > 0)
    assert len(traces["failed"]["x"]) == len(known.of("failed"))


def test_imported_trials_come_first(known: Study) -> None:
    """They ended before this study began, whatever their times say."""
    last = in_order(known)[-1]
    trials = tuple(replace(t, imported="joint@1#3") if t.number == last.number else t for t in known.trials)
    assert in_order(replace(known, trials=trials))[0].number == last.number


def test_before_the_first_complete_trial(known: Study) -> None:
    """There is no curve, and that is said."""
    nothing = section(replace(known, trials=tuple(known.of("pruned"))))
    assert not nothing.figures and "No trial is complete yet" in nothing.text


def test_every_improvement_has_its_price(known: Study) -> None:
    """Each new best with its gain, and the trials and seconds of training since the one before; newest first."""
    (table,) = section(known).tables
    best, rows, since, seconds, total = None, [], 0, 0.0, 0.0
    for trial in in_order(known):
        since, seconds, total = since + 1, seconds + trial.seconds, total + trial.seconds / 3600
        if trial.state == "complete" and trial.value is not None and (best is None or trial.value > best):
            gain = None if best is None else trial.value - best
            rows.append([trial.number, trial.value, gain, since, pytest.approx(seconds, abs=0.1), pytest.approx(total)])
            best, since, seconds = trial.value, 0, 0.0
    assert list(map(list, table.rows)) == rows[::-1] and len(rows) > 3
