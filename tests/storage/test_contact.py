"""Promises of a contact: only an unbroken row of answers counts, and it is kept in little room."""

import pytest

from storage import contact
from storage.contact import KEPT, Contact


class Clock:
    """time.monotonic() that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that contacts read."""
    clock = Clock()
    monkeypatch.setattr(contact, "time", clock)
    return clock


def answers(held: Contact, clock: Clock, seconds: float, every: float) -> None:
    """The database answers again and again."""
    for _ in range(round(seconds / every)):
        clock.now += every
        held.answered()


def test_nobody_is_judged_before_a_whole_grace(clock: Clock) -> None:
    """A process that has just come up, and one whose call failed, know nothing about anybody's silence."""
    held = Contact()
    assert not held.may_judge(60.0, silence=1e9)
    held.answered()
    answers(held, clock, 58.0, 2.0)
    assert not held.may_judge(60.0, silence=1e9)
    answers(held, clock, 2.0, 2.0)
    assert held.may_judge(60.0, silence=61.0)
    held.failed()
    held.answered()
    assert not held.may_judge(60.0, silence=1e9)
    answers(held, clock, 60.0, 2.0)
    assert held.may_judge(60.0, silence=61.0)


def test_an_outage_may_hide_between_two_calls(clock: Clock) -> None:
    """After a pause of 50 s, which may have been an outage, others get another half of their grace to beat."""
    held = Contact()
    held.answered()
    answers(held, clock, 120.0, 2.0)
    clock.now += 50.0
    held.answered()
    assert not held.may_judge(60.0, silence=61.0)
    answers(held, clock, 28.0, 2.0)
    assert not held.may_judge(60.0, silence=61.0 + 28.0 - 12.0)
    answers(held, clock, 4.0, 2.0)
    assert held.may_judge(60.0, silence=81.0)


def test_rare_calls_can_judge_a_short_grace(clock: Clock) -> None:
    """A worker that calls every 15 s takes over from one with a grace of two, after 16 s instead of two."""
    held = Contact()
    held.answered()
    answers(held, clock, 60.0, 15.0)
    assert not held.may_judge(2.0, silence=15.0)
    assert held.may_judge(2.0, silence=16.1)


@pytest.mark.parametrize("grace", [0.6, 5.0, 60.0, 600.0, 7200.0])
def test_little_is_kept_and_every_grace_can_be_judged(clock: Clock, grace: float) -> None:
    """Thousands of answers a grace leave at most `KEPT` times, close enough together for any grace."""
    held = Contact()
    held.answered()
    answers(held, clock, 1.2 * grace, min(grace / 8, 0.5))
    assert held.may_judge(grace, silence=1.01 * grace)
    assert len(held.ages()) <= KEPT


def test_a_contact_travels(clock: Clock) -> None:
    """Ages mean the same in a process whose clock began at another time."""
    held = Contact()
    answers(held, clock, 20.0, 1.0)
    ages = held.ages()
    clock.now = 5.0
    assert Contact(ages).ages() == pytest.approx(ages)
