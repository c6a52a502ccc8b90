"""Adds to a worker's events where its study stands, as far as the worker has read: nothing is read for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from optuna.trial import FrozenTrial, TrialState

from search.study.outlook import Outlook, outlook_of
from search.work.events import Emit, Event
from search.work.lane import Lane

EVERY = 3.0  # least seconds between two events about the study while trials run


class StudyNews:
    """An `Emit` that passes every event on to `show`; before one of a running trial, now and then, an outlook."""

    def __init__(self, show: Emit) -> None:
        self.show = show
        self.lanes: Sequence[Lane] = ()
        self._last = float("-inf")  # time.monotonic() of the last outlook

    def __call__(self, event: Event) -> None:
        due = time.monotonic() - self._last >= EVERY
        if self.lanes and (event.kind == "start" or (event.kind == "epoch" and due)):
            self._last = time.monotonic()
            found = outlook(self.lanes)
            if found is not None:
                self.show(Event("outlook", self.lanes[0].session.name, outlook=asdict(found)))
        self.show(event)


def outlook(lanes: Sequence[Lane]) -> Outlook | None:
    """Where the study stands, from what the lanes have last read and from their own trials; None where the worker has
    only run replicates, and has not read the search's trials."""
    trials = latest(lane.session.storage.known() for lane in lanes)
    if not trials:
        return None
    repeated = latest(lane.replicates.storage.known() for lane in lanes if lane.replicates is not None)
    running = sum(trial.state == TrialState.RUNNING for trial in (*trials, *repeated))
    session = lanes[0].session
    return outlook_of(session.spec, trials, running, replicates=repeated, plan=session.plan)


def latest(lists: Iterable[Sequence[FrozenTrial]]) -> list[FrozenTrial]:
    """One record of each trial: each lane knows its own trial exactly, those of others as they were last read."""
    found: dict[int, FrozenTrial] = {}
    for trials in lists:
        for trial in trials:
            known = found.get(trial.number)
            if known is None or _progress(trial) > _progress(known):
                found[trial.number] = trial
    return [found[number] for number in sorted(found)]


def _progress(trial: FrozenTrial) -> tuple[int, int]:
    stage = 2 if trial.state.is_finished() else int(trial.state == TrialState.RUNNING)
    return stage, len(trial.intermediate_values)
