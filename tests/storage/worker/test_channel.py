"""Promises of the background channel: order, one commit for neighbours, nothing lost in an outage, failures told."""

import threading

import pytest

from storage.claims import Batch
from storage.errors import ClaimLost, DatabaseUnavailable
from storage.worker import channel as module
from storage.worker.channel import Channel
from tests.machines import wait_until


def test_jobs_are_done_in_order_and_neighbours_together() -> None:
    """Batches put while another is on its way are committed as one; a function between them keeps its place."""
    written: list[dict[int, float]] = []
    begun, gate = threading.Event(), threading.Event()

    def write(batch: Batch) -> None:
        begun.set()
        gate.wait(300)
        written.append(dict(batch.intermediate))

    channel = Channel(write)
    channel.put(Batch(intermediate={0: 0.0}))
    assert begun.wait(300)
    for epoch in (1, 2):
        channel.put(Batch(intermediate={epoch: float(epoch)}))
    channel.put(lambda: Batch(intermediate={99: 99.0}))
    channel.put(Batch(intermediate={3: 3.0}))
    gate.set()
    channel.flush(300)
    assert written == [{0: 0.0}, {1: 1.0, 2: 2.0}, {99: 99.0}, {3: 3.0}]
    channel.close()


def test_an_outage_loses_nothing() -> None:
    """While writes fail for want of a database they are tried again; what a function returned is not made twice."""
    back, failed = threading.Event(), threading.Event()
    written: list[int] = []
    uploads: list[int] = []

    def write(batch: Batch) -> None:
        if not back.is_set():
            failed.set()
            raise DatabaseUnavailable("away")
        written.extend(batch.intermediate)

    def upload() -> Batch:
        uploads.append(1)
        return Batch(intermediate={1: 1.0})

    channel = Channel(write)
    channel.put(upload)
    assert failed.wait(300)
    with pytest.raises(DatabaseUnavailable, match="away"):
        channel.flush(0.3)
    back.set()
    channel.flush(300)
    assert (written, uploads) == ([1], [1])
    channel.close()


def test_another_failure_reaches_the_next_call() -> None:
    """A lost claim ends the channel: queued writes are dropped and the caller is told."""

    def write(batch: Batch) -> None:
        raise ClaimLost("taken over")

    channel = Channel(write)
    channel.put(Batch(intermediate={0: 0.0}))
    with pytest.raises(ClaimLost):
        channel.flush(300)
    with pytest.raises(ClaimLost):
        channel.put(Batch(intermediate={1: 0.0}))
    channel.close()


def test_the_queue_is_bounded() -> None:
    """A producer waits while the queue is full, and goes on when there is room."""
    gate = threading.Event()
    channel = Channel(lambda batch: None, capacity=2)
    for _ in range(3):
        channel.put(lambda: gate.wait(300) and None)
    blocked = threading.Thread(target=lambda: channel.put(Batch(intermediate={0: 0.0})))
    blocked.start()
    blocked.join(0.2)
    assert blocked.is_alive()
    gate.set()
    blocked.join(300)
    assert not blocked.is_alive()
    channel.flush(300)
    channel.close()


def test_hurry_shortens_the_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that would be tried again after an hour is tried again within a moment from then on."""
    monkeypatch.setattr(module, "PAUSE", 3600.0)
    tries: list[Batch] = []

    def write(batch: Batch) -> None:
        monkeypatch.setattr(module, "PAUSE", 0.01)  # the pause after this try is an hour, and this of it is left
        tries.append(batch)
        raise DatabaseUnavailable("away")

    channel = Channel(write)
    channel.put(Batch(intermediate={0: 0.0}))
    wait_until(lambda: len(tries) == 1, "the first try")
    channel.hurry()
    wait_until(lambda: len(tries) > 1, "another try")
    channel.close()
