"""A stop is due at a signal, at the time limit, or when it is asked for; durations are written as documented."""

import ctypes
import os
import signal
import threading
import time

import pytest

from search.errors import SearchError
from search.work.stopping import MARGIN, SIGNALS, Stop, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h30m", 30600), ("90m", 5400), ("45s", 45), ("1d", 86400), ("1.5h", 5400), ("10", 10), (" 2H ", 7200)],
)
def test_durations(text: str, seconds: float) -> None:
    """The forms of the documentation."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "8x", "h", "-1h", "0", "1h 30m", "soon"])
def test_what_is_no_duration(text: str) -> None:
    """Everything else names the forms."""
    with pytest.raises(SearchError, match="no duration"):
        parse_duration(text)


def test_a_time_limit_leaves_room_for_the_next_epoch() -> None:
    """A stop is due when the next epoch, as long as the last and a quarter, would not leave the margin."""
    stop = Stop(time_limit=100.0)
    assert not stop.due(next_epoch=(100 - MARGIN) / 1.25 - 1)
    assert stop.due(next_epoch=(100 - MARGIN) / 1.25 + 1)
    assert stop.reason == "time limit"


def test_a_stop_ends_a_wait_and_the_first_reason_counts() -> None:
    """Whoever sleeps through `Stop` wakes up at once."""
    stop = Stop()
    stop.ask("SIGTERM")
    stop.ask("time limit")
    started = time.monotonic()
    stop.sleep(800)
    assert time.monotonic() - started < 400
    assert stop.reason == "SIGTERM"


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_that_asks_for_a_stop_does(number: signal.Signals) -> None:
    """Ctrl-C, `kill`, a closed terminal: each asks once, and the handlers from before come back."""
    before = signal.getsignal(number)
    stop = Stop()
    with stop.on_signals():
        os.kill(os.getpid(), number)
        stop.sleep(100)
        assert stop.reason == number.name and stop.urgent
    assert signal.getsignal(number) == before


def test_nohup_keeps_its_meaning() -> None:
    """A SIGHUP that was switched off before the worker started stays off."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = Stop()
        with stop.on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            stop.sleep(0.5)
            assert not stop.due()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_is_heard_while_the_main_thread_is_stuck() -> None:
    """In a call that returns to Python only much later, as a driver's may: Python would run no handler before that."""
    stop, heard = Stop(), threading.Event()
    library, mutex, asked = ctypes.CDLL(None), ctypes.create_string_buffer(64), list[bool]()

    def ask() -> None:
        time.sleep(0.2)  # the main thread waits for the mutex by now
        os.kill(os.getpid(), signal.SIGTERM)
        asked.append(heard.wait(300))
        library.pthread_mutex_unlock(mutex)

    with stop.on_signals(), stop.when_asked(heard.set):
        library.pthread_mutex_lock(mutex)
        threading.Thread(target=ask).start()
        library.pthread_mutex_lock(mutex)  # runs no Python code, and no signal ends it
    assert asked == [True] and stop.reason == "SIGTERM"


def test_nothing_waits_for_a_stop_once_the_work_is_over() -> None:
    """The thread that waits for a stop ends with its block and keeps no worker in memory; a stop during the block is
    answered once."""
    answered = threading.Event()
    before = set(threading.enumerate())
    with Stop().when_asked(answered.set):
        (waiting,) = set(threading.enumerate()) - before
    waiting.join(120)
    assert not waiting.is_alive() and not answered.is_set()
    stop = Stop()
    with stop.when_asked(answered.set):
        stop.ask("test")
        assert answered.wait(120)
