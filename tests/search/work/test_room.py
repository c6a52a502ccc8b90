"""Places for runs at once: fewer after a lack of memory, the run that met it first again, and slowly more."""

import threading
import time

from search.work.room import WELL, Room


def never() -> bool:
    return False


def test_no_more_than_the_limit() -> None:
    """Who comes when all places are taken waits until one is left; a stop ends the wait without a place."""
    room = Room(2)
    assert room.enter(never) and room.enter(never)
    assert not room.enter(lambda: True)
    entered = threading.Event()
    thread = threading.Thread(target=lambda: room.enter(never) and entered.set())
    thread.start()
    assert not entered.wait(0.3)
    room.leave()
    assert entered.wait(300)
    thread.join()
    assert room.taken == 2


def test_who_was_set_aside_comes_first() -> None:
    """After a lack of memory there is a place less, and the run that met it gets the next free one before a new one."""
    room, order = Room(3), list[str]()
    for _ in range(3):
        room.enter(never)
    assert room.set_aside() and (room.limit, room.taken) == (2, 2)
    new = threading.Thread(target=lambda: room.enter(never) and order.append("new"))
    aside = threading.Thread(target=lambda: room.again(never) and order.append("aside"))
    new.start()
    aside.start()
    time.sleep(0.1)  # both wait
    room.leave()
    aside.join(300)
    assert order == ["aside"] and room.taken == 2
    room.leave()
    new.join(300)
    assert order == ["aside", "new"]


def test_a_run_alone_is_not_set_aside() -> None:
    """Fewer runs cannot help it."""
    room = Room(4)
    room.enter(never)
    assert not room.set_aside() and (room.limit, room.taken) == (4, 1)


def test_a_stop_ends_the_wait_with_a_place_to_leave() -> None:
    """Every run leaves once, also one that a stop has kept from going on."""
    room = Room(2)
    room.enter(never)
    room.enter(never)
    room.set_aside()
    assert not room.again(lambda: True)
    room.leave()
    room.leave()
    assert room.taken == 0


def test_one_more_is_tried_after_a_while() -> None:
    """One large network among small ones does not leave the device idle for good."""
    room = Room(4)
    for _ in range(4):
        room.enter(never)
    room.set_aside()
    assert room.limit == 3
    for _ in range(WELL - 1):
        room.leave()
        room.taken += 1
    assert room.limit == 3
    room.leave()
    assert room.limit == 4


def test_a_measured_number_is_the_new_most() -> None:
    """Runs begin one at a time until the number is known; later it is never exceeded."""
    room = Room(8, limit=1)
    room.enter(never)
    assert not room.enter(lambda: True)
    room.allow(2)
    assert room.enter(never) and (room.limit, room.most) == (2, 2)


def test_waiting_until_the_others_are_gone() -> None:
    """For as long as it is worth it."""
    room = Room(2)
    room.enter(never)
    room.enter(never)
    started = time.monotonic()
    room.empty(but=1, timeout=0.2)
    assert time.monotonic() - started >= 0.2
    threading.Timer(0.1, room.leave).start()
    room.empty(but=1, timeout=800.0)
    assert time.monotonic() - started < 400.0
