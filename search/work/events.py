"""What a worker reports while it works: one small record an event, for a terminal, a log or a supervisor."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

WAITS = "for work"  # state of a wait in which nothing trains here; a worker that only lets others end soon has none


@dataclass(frozen=True)
class Event:
    """`kind` is one of: ready, start, resume, epoch, end, recovered, wait, note, stop, outlook."""

    kind: str
    study: str = ""
    trial: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    score: float | None = None  # mean of this epoch
    best: float | None = None  # mean of the trial's best epoch
    seconds: float | None = None  # of this epoch
    state: str = ""  # of an end: complete, pruned, failed, handed back, lost, kept, left; of a wait: see WAITS
    text: str = ""
    outlook: dict[str, Any] | None = None  # of an outlook: the fields of `search.study.outlook.Outlook`
    lane: int = 0  # which of the worker's runs at once

    def to_line(self) -> bytes:
        """One line of JSON without the empty fields."""
        return (
            json.dumps(
                {k: v for k, v in asdict(self).items() if v not in (None, "") and (k, v) != ("lane", 0)}
            ).encode()
            + b"\n"
        )

    @staticmethod
    def from_line(line: bytes) -> Event:
        """What `to_line` wrote."""
        fields: dict[str, Any] = json.loads(line)
        return Event(**fields)


Emit = Callable[[Event], None]  # takes an event and shows it, logs it or passes it on


def ignore(_: Event) -> None:
    """An `Emit` that drops every event."""


def to_pipe(descriptor: int, closed: Callable[[], None]) -> Emit:
    """An `Emit` that writes to a supervisor's pipe; it calls `closed` once the supervisor no longer reads it."""

    def emit(event: Event) -> None:
        try:
            os.write(descriptor, event.to_line())
        except BrokenPipeError:
            closed()

    return emit
