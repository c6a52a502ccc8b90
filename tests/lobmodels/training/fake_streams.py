"""Streams and events of GPUs that do not exist, with a clock each: work that does not wait for what it needs is found.

Every stream, and the host, counts its operations and keeps how many of the others' it has waited for (a vector clock).
Memory remembers who wrote and who read it last. Reading what another wrote, or overwriting what another wrote or read,
without having waited for that operation is a race, whether or not it would show this time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch


class RaceError(AssertionError):
    """Memory was used before an operation of another stream on it was over."""


class Actor:
    """Somebody who computes in order: the host, or a stream."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.knows: dict[Actor, int] = {self: 0}

    def __repr__(self) -> str:
        return self.name

    def learn(self, knows: dict[Actor, int]) -> None:
        """Wait for what is known there."""
        for actor, time in knows.items():
            self.knows[actor] = max(self.knows.get(actor, 0), time)


@dataclass
class Memory:
    """Who used a piece of memory last: actor and time of the last write, and of reads since."""

    written: tuple[Actor, int] | None = None
    read: dict[Actor, int] = field(default_factory=dict)


class Stream(Actor):
    """Stands for `torch.cuda.Stream`."""

    streams: Streams  # set by `Streams`, of whose calls this is part

    def __init__(self, device: torch.device | str | int | None = None, priority: int = 0) -> None:
        self.device = self.streams.normal(device)
        super().__init__(f"stream {len(self.streams.made)} of {self.device}")
        self.streams.made.append(self)

    def wait_stream(self, other: Stream) -> None:
        self.learn(other.knows)

    def wait_event(self, event: Event) -> None:
        self.learn(event.knows)

    def record_event(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def synchronize(self) -> None:
        self.streams.host.learn(self.knows)


class Event:
    """Stands for `torch.cuda.Event`; one that was never recorded is over."""

    def __init__(self, *_: object, **__: object) -> None:
        self.knows: dict[Actor, int] = {}

    def record(self, stream: Stream | None = None) -> None:
        stream = stream or Stream.streams.current(None)
        self.knows = dict(stream.knows)

    def wait(self, stream: Stream | None = None) -> None:
        (stream or Stream.streams.current(None)).learn(self.knows)

    def synchronize(self) -> None:
        Stream.streams.host.learn(self.knows)

    def query(self) -> bool:
        return True


class Streams:
    """All streams of a process, and which is current on each device."""

    def __init__(self, current_device: int) -> None:
        self.host = Actor("the host")
        self.made: list[Stream] = []
        self.current_device = current_device
        self._current: dict[torch.device, Stream] = {}
        self._default: dict[torch.device, Stream] = {}
        Stream.streams = self

    def normal(self, device: torch.device | str | int | None) -> torch.device:
        """The device with its number."""
        if device is None or isinstance(device, int):
            return torch.device("cuda", self.current_device if device is None else device)
        device = torch.device(device)
        return torch.device("cuda", self.current_device) if device.index is None else device

    def current(self, device: torch.device | str | int | None = None) -> Stream:
        """Stands for `torch.cuda.current_stream`."""
        place = self.normal(device)
        return self._current.get(place) or self.default(place)

    def default(self, device: torch.device | str | int | None = None) -> Stream:
        """Stands for `torch.cuda.default_stream`."""
        place = self.normal(device)
        if place not in self._default:
            self._default[place] = Stream(place)
        return self._default[place]

    @contextmanager
    def entered(self, stream: Stream) -> Iterator[None]:
        """Stands for `torch.cuda.stream`."""
        before = self.current(stream.device)
        self._current[stream.device] = stream
        try:
            yield
        finally:
            self._current[stream.device] = before

    def use(self, actor: Actor, reads: Iterable[Memory], writes: Iterable[Memory], what: str) -> None:
        """One operation of `actor`. Raises `RaceError`."""
        if actor is not self.host:
            actor.learn(self.host.knows)  # what the host waited for before it gave the order is over
        actor.knows[actor] += 1
        now = actor.knows[actor]
        writes = list(writes)
        for memory in (*reads, *writes):
            self._over(actor, memory.written, what, "written")
            memory.read[actor] = now
        for memory in writes:
            for past in memory.read.items():
                if past[0] is not actor:
                    self._over(actor, past, what, "read")
            memory.written, memory.read = (actor, now), {}

    @staticmethod
    def _over(actor: Actor, past: tuple[Actor, int] | None, what: str, how: str) -> None:
        if past is not None and actor.knows.get(past[0], 0) < past[1]:
            raise RaceError(f"{what} on {actor}: its memory may still be {how} by {past[0]}, which was not waited for")
