"""Promises of the stopwatch: a clock that was set is noticed, slow answers are no such thing, beats are told apart."""

import time

import pytest

from storage.stopwatch import SeenBeats, ServerClock


@pytest.mark.parametrize("jump", [-86_400.0, -40.0, 40.0, 86_400.0])
def test_a_clock_that_was_set_is_noticed_once(jump: float) -> None:
    """By how much, less the time that the reading took; then its new time is taken as right."""
    clock = ServerClock()
    assert clock.moved(10.0, 1000.0, 10.1) == 0.0
    assert clock.moved(20.0, 1010.0, 20.1) == 0.0
    assert clock.moved(30.0, 1020.0 + jump, 30.1) == pytest.approx(abs(jump) - 0.1)
    assert clock.moved(40.0, 1030.0 + jump, 40.1) == 0.0


def test_a_slow_answer_is_no_set_clock() -> None:
    """The clock was read at some moment within the twenty seconds."""
    clock = ServerClock()
    assert clock.moved(10.0, 1000.0, 10.1) == 0.0
    for at in (1010.0, 1020.0, 1030.0):
        assert clock.moved(20.0, at, 40.0) == 0.0


def test_a_beat_is_timed_from_its_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new beat or another claim begins anew; studies are told apart; a trial that has ended is forgotten."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    beats = SeenBeats()
    assert beats.unchanged(1, {7: ("a", 5.0), 8: ("b", 5.0), 9: ("c", 5.0)}) == {7: 0.0, 8: 0.0, 9: 0.0}
    assert beats.unchanged(2, {7: ("a", 5.0)}) == {7: 0.0}
    now[0] = 130.0
    assert beats.unchanged(1, {7: ("a", 5.0), 8: ("b", 6.0), 9: ("d", 5.0)}) == {7: 30.0, 8: 0.0, 9: 0.0}
    assert beats.unchanged(1, {}) == {}
    assert beats.unchanged(1, {7: ("a", 5.0)}) == {7: 0.0}
