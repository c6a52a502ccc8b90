"""What a worker tells while it works: one small record an event, for a terminal, a log or a supervisor."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """`kind` is one of: ready, start, resume, epoch, end, recovered, wait, note, stop."""

    kind: str
    study: str = ""
    trial: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    score: float | None = None  # mean of this epoch
    best: float | None = None  # mean of the trial's best epoch
    seconds: float | None = None  # of this epoch
    state: str = ""  # of an end: complete, pruned, failed, handed back, lost, kept
    text: str = ""

    def to_line(self) -> bytes:
        """One line of JSON without what says nothing."""
        return json.dumps({k: v for k, v in asdict(self).items() if v not in (None, "")}).encode() + b"\n"

    @staticmethod
    def from_line(line: bytes) -> Event:
        """What `to_line` wrote."""
        fields: dict[str, Any] = json.loads(line)
        return Event(**fields)


Listener = Callable[[Event], None]


def to_pipe(descriptor: int, gone: Callable[[], None]) -> Listener:
    """A listener that writes to a supervisor's pipe, and calls `gone` once nobody reads it."""

    def listen(event: Event) -> None:
        try:
            os.write(descriptor, event.to_line())
        except BrokenPipeError:
            gone()

    return listen
