"""The runs that a worker trains at once: a lane for each, with its sessions and its stream on the GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from lobmodels.training.turns import Turns
from search.work.session import StudySession
from search.work.stopping import Stop


@dataclass
class Lane:
    """Takes one trial after another. Lanes share all but what is named here."""

    number: int
    session: StudySession
    replicates: StudySession | None = None  # from the moment that the study has any
    stream: torch.cuda.Stream | None = None  # None: the device's default stream, or a CPU

    def on_stream(self) -> AbstractContextManager[Any]:
        """Inside, the thread computes on this lane's stream."""
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)

    def of_replicates(self, replicates: StudySession | None) -> StudySession | None:
        """This lane's own session with the study of replicates, from the moment that the worker has one."""
        if self.replicates is None and replicates is not None:
            self.replicates = replicates if self.number == 0 else replicates.sibling()
        return self.replicates


def lanes(session: StudySession, count: int, device: torch.device) -> list[Lane]:
    """So many lanes of one worker. A single one computes on the default stream."""
    streams = count > 1 and device.type == "cuda"
    return [
        Lane(
            number,
            session if number == 0 else session.sibling(),
            stream=torch.cuda.Stream(device) if streams else None,
        )
        for number in range(count)
    ]


def run_lanes(lanes: Sequence[Lane], work: Callable[[Lane], None], turns: Turns, stop: Stop) -> None:
    """`work(lane)` for each lane in a thread of its own, while what they compute is computed here, in turns.

    Raises what ended the first lane that failed; the others then hand their trials back.
    """
    errors: list[BaseException] = []

    def guarded(lane: Lane) -> None:
        try:
            work(lane)
        except BaseException as error:  # raised below, in the worker's own thread
            errors.append(error)
            if len(lanes) > 1:
                stop.ask("another run ended this worker")

    names = [f"lobtuna-run-{lane.number}" for lane in lanes]
    threads = [
        threading.Thread(target=guarded, args=(lane,), name=name, daemon=True)
        for lane, name in zip(lanes, names, strict=True)
    ]
    for thread in threads:
        thread.start()
    turns.serve(lambda: any(thread.is_alive() for thread in threads))
    if errors:
        raise errors[0]
