"""Events cross the pipe between a slot and its supervisor unchanged."""

import os

import pytest

from search.work.events import Event, ignore, to_pipe

EVENTS = [
    Event("ready", "joint", text="cpu, data 0123abcd"),
    Event("epoch", "joint", 7, epoch=0, epochs=20, score=0.25, best=0.25, seconds=1.5),
    Event("end", "joint", 0, score=-0.01, state="complete", text='two "quoted"\nlines'),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_an_event_is_one_line_that_is_read_back(event: Event) -> None:
    """Zeroes are kept, empty fields are left out, a line break in a text does not split the line."""
    line = event.to_line()
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert Event.from_line(line) == event


def test_a_supervisor_that_is_gone_is_noticed() -> None:
    """Writing to a closed pipe calls `closed` and raises nothing."""
    reader, writer = os.pipe()
    closed: list[int] = []
    emit = to_pipe(writer, lambda: closed.append(1))
    emit(EVENTS[0])
    assert Event.from_line(os.read(reader, 65536)) == EVENTS[0]
    os.close(reader)
    emit(EVENTS[1])
    os.close(writer)
    assert closed == [1]


def test_events_may_be_ignored() -> None:
    """`work` called from Python needs no listener."""
    ignore(EVENTS[0])
