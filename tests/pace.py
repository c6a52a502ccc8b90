"""Hooks that set the pace of a worker's training: a test then knows where a run is when its fault comes.

An epoch of the tests' networks takes some hundredths of a second, and a test process may wait longer than a whole run
for its turn on a busy machine. These hooks are called in a worker's process (`tests.machines.Worker(hook=...)`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lobmodels.training.run import TrainingRun
from search.study.record import SEED
from search.work.stopping import Stop
from search.work.trial import TrialInProgress

LOOK = 0.01  # seconds between two looks whether to go on


def each(*hooks: Callable[[], None]) -> None:
    """Several hooks as one."""
    for hook in hooks:
        hook()


def slow_epochs(seconds: float) -> None:
    """Every epoch takes `seconds` more."""
    steps = TrainingRun.steps

    def slow(run: TrainingRun) -> Any:
        time.sleep(seconds)
        return steps(run)

    TrainingRun.steps = slow  # type: ignore[method-assign]


def stand_still(
    epoch: int,
    until: Path | None = None,
    *,
    study: str | None = None,
    trial: int | None = None,
    seeds_from: int = 0,
    reached: Path | None = None,
) -> None:
    """Runs stand still in the middle of epoch `epoch` (from 0) until the file `until` is there, for ever without one.

    With `study` or `trial` only the runs of that study, or of trials with that number, do, with `seeds_from` only
    replicates with that seed or a higher one. Other runs of the same worker go on. The file `reached` is written when
    the first one stands still.
    """
    begun: list[TrialInProgress] = []
    begin = TrialInProgress.__init__

    def remembered(this: TrialInProgress, *arguments: Any) -> None:
        begin(this, *arguments)
        begun.append(this)

    def over(run: TrainingRun) -> bool:
        (own,) = [one for one in begun if one.training is run]
        meant = study in (None, own.session.name) and trial in (None, own.number)
        if meant and seeds_from:
            meant = own.storage.own().user_attrs.get(SEED, 0) >= seeds_from
        if meant and reached is not None:
            reached.touch()
        return not meant or (until is not None and until.exists())

    TrialInProgress.__init__ = remembered  # type: ignore[method-assign]
    _hold(epoch, over)


def stand_still_until_stopped(epoch: int, reached: Path | None = None) -> None:
    """Runs stand still in the middle of epoch `epoch` (from 0) until their worker has been asked to stop. The file
    `reached` is written when the first one stands still: before that, a signal may come between two epochs."""
    asked, ask = threading.Event(), Stop.ask

    def heard(stop: Stop, reason: str) -> None:
        ask(stop, reason)
        asked.set()

    def over(run: TrainingRun) -> bool:
        if reached is not None:
            reached.touch()
        return asked.is_set()

    Stop.ask = heard  # type: ignore[method-assign]
    _hold(epoch, over)


def _hold(epoch: int, over: Callable[[TrainingRun], bool]) -> None:
    steps = TrainingRun.steps

    def held(run: TrainingRun) -> Iterator[None]:
        for step in steps(run):
            yield step
            while run.epoch >= epoch and not over(run):
                time.sleep(LOOK)
                yield  # the worker's other runs have their turns

    TrainingRun.steps = held  # type: ignore[method-assign]
