"""Promises of the heartbeat: regular, undisturbed by errors, ended by the first refusal."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from storage.errors import DatabaseUnavailable
from storage.worker.heartbeat import BEATS_PER_GRACE, Heartbeat


def wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> bool:
    """Whether `condition` comes true within `seconds`."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.fixture
def answers() -> Iterator[list[object]]:
    """What the next beats answer: True, False, or an exception; True once they are used up."""
    yield []


@pytest.fixture
def beats() -> list[float]:
    """Moments of the beats so far."""
    return []


@pytest.fixture
def beat(answers: list[object], beats: list[float]) -> Callable[[], bool]:
    """A beat that answers as the test says."""

    def call() -> bool:
        beats.append(time.monotonic())
        answer = answers.pop(0) if answers else True
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    return call


def test_several_beats_fall_into_one_grace(beat: Callable[[], bool], beats: list[float]) -> None:
    """One lost beat does not make a worker silent: there are four within its grace."""
    started = time.monotonic()
    heartbeat = Heartbeat(beat, 0.4, lambda: None)
    assert wait_for(lambda: len(beats) >= BEATS_PER_GRACE)
    heartbeat.stop()
    assert beats[BEATS_PER_GRACE - 1] - started >= 0.35  # never faster than asked
    time.sleep(0.2)
    sent = len(beats)
    time.sleep(0.3)
    assert len(beats) == sent


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), ValueError("a bug")])
def test_an_error_does_not_end_it(
    beat: Callable[[], bool], beats: list[float], answers: list[object], error: Exception
) -> None:
    """After an outage or a bug the next beat is sent all the same, and nothing counts as lost."""
    answers += [error, error]
    lost = threading.Event()
    heartbeat = Heartbeat(beat, 0.1, lost.set)
    assert wait_for(lambda: len(beats) >= 4)
    heartbeat.stop()
    assert not lost.is_set()


def test_the_first_refusal_ends_it(beat: Callable[[], bool], beats: list[float], answers: list[object]) -> None:
    """A beat that is refused is reported once, and no further one is sent."""
    answers += [True, False]
    lost: list[int] = []
    Heartbeat(beat, 0.1, lambda: lost.append(1))
    assert wait_for(lambda: bool(lost))
    time.sleep(0.2)
    assert (lost, len(beats)) == ([1], 2)


def test_it_knows_when_it_was_last_heard(beat: Callable[[], bool], beats: list[float], answers: list[object]) -> None:
    """`answered` moves with every beat that the database took, and with no other."""
    heartbeat = Heartbeat(beat, 0.1, lambda: None)
    assert wait_for(lambda: len(beats) >= 2)
    answers += [DatabaseUnavailable("away")] * 1000
    assert wait_for(lambda: len(answers) < 998)
    answered = heartbeat.answered
    time.sleep(0.2)
    assert heartbeat.answered == answered
    heartbeat.stop()
