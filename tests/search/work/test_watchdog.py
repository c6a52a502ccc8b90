"""A run that hangs is noticed by the time its epochs take, and nothing else is taken for a hang."""

import threading
import time

from search.work import watchdog as module
from search.work.watchdog import FACTOR, FIRST, LEAST, Watchdog

TICK = 0.02


class Hung:
    """Counts the calls."""

    def __init__(self) -> None:
        self.limits: list[float] = []
        self.called = threading.Event()

    def __call__(self, limit: float) -> None:
        self.limits.append(limit)
        self.called.set()


def test_an_epoch_that_does_not_end_is_noticed_once() -> None:
    """`hung` is called after the limit, with it, and not again."""
    hung = Hung()
    with Watchdog(hung, least=0.2, first=10.0, tick=TICK) as dog:
        dog.epoch_ended(0.001)
        assert hung.called.wait(10)
        time.sleep(0.3)
    assert hung.limits == [0.2]


def test_epochs_that_end_in_time_are_left_alone() -> None:
    """Each end of an epoch starts the time anew."""
    hung = Hung()
    with Watchdog(hung, least=2.0, first=10.0, tick=TICK) as dog:
        for _ in range(6):
            time.sleep(0.05)
            dog.epoch_ended(0.05)
    assert hung.limits == []


def test_the_limit_follows_the_slowest_epoch() -> None:
    """Ten times the slowest so far, ten minutes at least; the first epoch, which prepares everything, has an hour."""
    dog = Watchdog(Hung())
    assert dog.limit == FIRST
    dog.epoch_ended(1.0)
    assert dog.limit == LEAST
    dog.epoch_ended(120.0)
    dog.epoch_ended(30.0)
    assert dog.limit == FACTOR * 120.0


def test_a_process_that_was_stopped_does_not_hang(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """After SIGSTOP or a suspended laptop the clock has jumped; that time does not count."""
    hung = Hung()
    ahead = [0.0]
    real = time.monotonic
    monkeypatch.setattr(module.time, "monotonic", lambda: real() + ahead[0])
    with Watchdog(hung, least=5.0, first=5.0, tick=TICK):
        time.sleep(0.1)
        ahead[0] = 3600.0
        time.sleep(0.3)
    assert hung.limits == []


def test_after_the_block_nothing_is_called() -> None:
    """A run that has ended cannot hang."""
    hung = Hung()
    with Watchdog(hung, least=0.1, first=0.1, tick=TICK):
        pass
    time.sleep(0.4)
    assert hung.limits == []
