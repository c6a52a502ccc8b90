"""How a trial ended for the worker that ran it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How a trial ended here: complete, pruned, failed, withdrawn (its configuration ran before), handed back, lost (to
    another worker), kept (on disk), or left (to other workers, because the database was away when this one was told to
    end)."""

    state: str
    text: str
    value: float | None = None
    broken_device: bool = False  # only a fresh process can use the device again
