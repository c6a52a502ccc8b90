"""A worker: takes trials, trains one or several at once, and queues trials of silent workers again."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna

from lobmodels.data import load_dataset
from lobmodels.device import select_device
from lobmodels.training.host import tune_host
from search.errors import RestartNeeded, RunSavedError, SearchError
from search.report.note import NoteKeeper
from search.study.create import withdraw_duplicates
from search.study.open import SEEDS, existing_storage, load_study
from search.study.plan import EnsemblePlan
from search.study.plugins import require_code
from search.study.record import SPEC
from search.study.replication import advance, has_replicates, identity
from search.work.context import WorkerContext
from search.work.events import WAITS, Emit, Event, ignore
from search.work.exits import Exit
from search.work.kept import Leftovers
from search.work.lane import Lane, lanes, run_lanes
from search.work.leaving import all_heard, nothing_left
from search.work.news import StudyNews
from search.work.options import WorkOptions, WorkSummary
from search.work.outage import outlast
from search.work.planned import PlanFollower
from search.work.repeats import Repeats, too_many
from search.work.room import Room
from search.work.session import StudySession, recover
from search.work.stopping import Stop
from search.work.trial import TrialInProgress, store_states
from search.work.watch import EVERY, Watch
from storage.claims import Claim
from storage.errors import Unavailable
from storage.optuna_internals import study_id_of

LOOK_AGAIN = 5.0  # seconds between two checks of a worker that waits for the last beat of the others
EndProcess = Callable[[Exit], object]
IDLE = 30.0  # seconds between two checks of a worker that stays without work, up to a third more


def work(
    url: str,
    name: str,
    data: Path | str,
    *,
    options: WorkOptions | None = None,
    stop: Stop | None = None,
    emit: Emit = ignore,
    end_process: Callable[[Exit], object] = lambda _: None,
) -> WorkSummary:
    """Work on the study `name` until its budget is spent, a limit is reached or a stop is asked for.

    `end_process` is called, from another thread, after a run that hangs was given up: nothing else ends it.
    Raises `RestartNeeded` where only a fresh process can go on, `SearchError` for a study that is missing or belongs to
    other data or another version, `StorageError` for a database that cannot be reached, `DataError` for data that
    cannot be read, `DeviceError` for a device that is not there.
    """
    options = options or WorkOptions()
    stop = stop or Stop(options.time_limit)
    stop.follow_parent = options.follow_parent
    with stop.on_signals():
        return _Worker(url, name, Path(data), options, stop, emit, end_process).run()


class _Worker:
    def __init__(
        self, url: str, name: str, data: Path, options: WorkOptions, stop: Stop, emit: Emit, end_process: EndProcess
    ) -> None:
        self.name, self.options, self.stop, self.emit = name, options, stop, StudyNews(emit)
        self.data, self.end_process = data, end_process
        self.device = select_device(options.device)
        tune_host(options.threads)
        self.claim = Claim(f"{socket.gethostname()}:{os.getpid()}", grace=options.grace)
        self.inner = existing_storage(url, name, patience=options.patience)
        require_code(load_study(self.inner, name), options.plugins, options.trust_plugins)
        self.session = self._open(name)
        self.watch = Watch(
            self.inner,
            study_id_of(self.session.study),
            stop,
            self._adopt,
            known=options.known_stop,
            every=min(EVERY, options.grace / 4),
        )
        self.replicates: StudySession | None = None
        self.seen: list[Any] = []  # what `_news` compares with
        self.document: Any = None  # the definition that this worker follows, as stored
        self.leftovers = Leftovers(options.keep_folder, self.claim.worker, emit)
        self.summary, self.failures = WorkSummary(), Repeats()
        self.soon = min(LOOK_AGAIN, options.grace / 4)  # seconds until a lane without work looks again
        self.running: dict[int, TrialInProgress] = {}  # by the number of the lane
        self.taking = threading.Lock()  # held while a lane looks for its next trial, and while it counts its last

    def run(self) -> WorkSummary:
        if not self._enough():  # a stop was asked for while this process was starting: data may take minutes
            self._load()
            self._work()
        self.emit(Event("stop", self.name, text=self.summary.stopped))
        return self.summary

    def _load(self) -> None:
        """Load the data, and build what needs it."""
        options, dataset = self.options, load_dataset(self.data)
        self.session.bind(dataset)
        room = Room(*options.runs_at_once(self.device))
        self.context = WorkerContext(
            dataset=dataset,
            device=self.device,
            worker=self.claim.worker,
            stop=self.stop,
            emit=self.emit,
            end_process=self.end_process,
            room=room,
            undecided=room.limit < room.most,
            checkpoint_every=options.checkpoint_every,
            keep_folder=options.keep_folder,
        )
        self.planned = PlanFollower(self.inner, self.name, dataset, self.device, self.emit)
        self.lanes = self.emit.lanes = lanes(self.session, room.most, self.device)

    def _work(self) -> None:
        """Train until there is enough; a stop that was asked for meanwhile is read before the first trial."""
        context, watch = self.context, self.watch
        self.emit(Event("ready", self.name, text=f"{context.device_name}, data {context.dataset.fingerprint[:8]}"))
        notes = NoteKeeper(self.inner, self.name, context.worker, context.dataset, attributes=lambda: watch.attributes)
        notes.start()
        try:
            with self.watch, self.stop.when_asked(lambda: store_states(list(self.running.values()), self.stop)):
                run_lanes(self.lanes, self._lane, self.context.turns, self.stop)
        finally:
            notes.stop()

    def _lane(self, lane: Lane) -> None:
        """Take trials one after another, each while there is room for one more run."""
        room = self.context.room
        while not self._enough():
            if not room.enter(self.stop.due):
                continue
            try:
                with self.taking:
                    why = self._found(lane)
                if lane.number in self.running:
                    self._run(lane, self.running[lane.number])
            finally:
                self.running.pop(lane.number, None)
                room.leave()
            if why:
                self._without_trial(lane, why)

    def _run(self, lane: Lane, trial: TrialInProgress) -> None:
        outcome = trial.run()
        with self.taking:
            del self.running[lane.number]
            self.summary.count(outcome.state)
            if outcome.state == "withdrawn" and lane.replicates is not None:
                lane.replicates.storage.forget()  # a replicate was queued in its place
            repeated = self.failures.add(outcome.state, outcome.text)
        if outcome.state == "kept":
            raise RunSavedError(outcome.text)
        if outcome.broken_device:
            raise RestartNeeded(f"the device cannot be used in this process any more: {outcome.text}")
        if repeated:
            raise SearchError(too_many(outcome.text))

    def _enough(self) -> bool:
        if self.stop.due():
            self.summary.stopped = self.stop.reason or ""
        elif self.options.trials is not None and self.summary.trials >= self.options.trials:
            self.summary.stopped = f"{self.options.trials} trials done here"
        return bool(self.summary.stopped)

    def _found(self, lane: Lane) -> str:
        """Give `lane` its next trial, after an outage where there is one. Returns why there is none; empty where a stop
        came before the outage was over: no trial is held yet, so nothing is lost."""
        if self.options.trials is not None and self.summary.trials + len(self.running) >= self.options.trials:
            return f"{self.options.trials} trials are done or running here"
        try:
            found = outlast(lambda: self._next(lane), self.stop, self._note, wrote=self._wrote)
        except Unavailable:
            return ""
        if isinstance(found, str):
            return found
        self.running[lane.number] = TrialInProgress(self.context, *found, lane)
        return ""

    def _wrote(self) -> bool:
        return bool(self.options.wrote or self.running or self.summary.outcomes)

    def _note(self, text: str) -> None:
        self.emit(Event("note", self.name, text=text))

    def _next(self, lane: Lane) -> tuple[StudySession, optuna.Trial] | str:
        """The next trial: a replicate where one is queued, else the study's; or why there is none."""
        for session in self._sessions:
            self.leftovers.store(self.inner, session.name)
        self._recover(every=self.options.grace / 4)
        replicates = self._replicates(lane)
        trial = replicates.take() if replicates is not None else None
        if replicates is not None and trial is None and self._news() and advance(self.inner, self.name):
            replicates.storage.forget()
            trial = replicates.take()
        if replicates is not None and trial is not None:
            return replicates, trial
        why = lane.session.spent() if lane.session.storage.running is None else None  # held since before an outage
        if why is None:
            return lane.session, lane.session.ask()
        return self._next(lane) if self._plan_goes_on(lane) else why

    def _plan_goes_on(self, lane: Lane) -> bool:
        """Whether the study has a plan that has just queued something."""
        queued = lane.session.plan is not None and self.planned.go_on()
        if queued and lane.replicates is not None:
            lane.replicates.storage.forget()
        return queued

    def _without_trial(self, lane: Lane, why: str) -> None:
        with contextlib.suppress(Unavailable):  # a stop is due, and this lane holds no trial
            outlast(lambda: self._wait_or_leave(lane, why), self.stop, self._note, wrote=self._wrote)

    def _wait_or_leave(self, lane: Lane, why: str) -> None:
        """With `wait`, or while other lanes train, stay. Otherwise leave once every trial that runs elsewhere has had a
        new beat: if the last worker left before that, a dead worker's trial would never be queued again."""
        idle = not self.running and (self.planned.waits or self.options.wait)
        self.emit(Event("wait", self.name, text=why, lane=lane.number, state=WAITS if idle else ""))
        if self.running or self.planned.waits:
            self.stop.sleep(self.soon)
        elif self.options.wait:
            self._idle()
        elif all_heard(self._sessions, self.soon, self.stop, lambda: self._recover(every=0.0)):
            with self.taking:
                if not self.running and nothing_left(self._sessions):
                    self.summary.stopped = why

    def _idle(self) -> None:
        """Wait a while for trials to be queued, or for the worker of a running one to fall silent."""
        self.watch.idle = True
        self.stop.sleep(min(IDLE, self.options.grace / 2) * random.uniform(1.0, 4 / 3))
        self.watch.idle = False

    @property
    def _sessions(self) -> list[StudySession]:
        """The study's, and that of its replicates where there is one."""
        return [self.session] if self.replicates is None else [self.session, self.replicates]

    def _news(self) -> bool:
        """Whether a trial or the definition has changed since the plan of replicates was last looked at."""
        now = [self.watch.attributes, *(s.storage.others.version for s in self._sessions)]
        news, self.seen = now != self.seen, now
        return news

    def _recover(self, every: float) -> int:
        """Queue trials of silent workers again; returns how many."""
        queued = recover(self.session, every, self.emit)
        if self.replicates is not None and (again := recover(self.replicates, every, self.emit)):
            withdraw_duplicates(load_study(self.inner, self.replicates.name), identity)  # one may have been such
            queued += again
        return queued

    def _adopt(self, attributes: Mapping[str, Any]) -> None:
        """Apply changed terms of the study to its session, and to its replicates those that concern them."""
        self.session.follow(EnsemblePlan.of(attributes))
        document = attributes.get(SPEC)
        if document == self.document:
            return
        self.document, terms = document, self.session.terms_in(document)
        if terms is None:
            self.stop.leave(f"study {self.name!r} was deleted, and another one has its place")
            return
        changed = self.session.adopt(terms)
        if self.replicates is not None:
            self.replicates.adopt(self.replicates.spec.model_copy(update={"max_retries": terms.max_retries}))
        if changed:
            self._note(f"follows the changed study: {', '.join(changed)}")

    def _replicates(self, lane: Lane) -> StudySession | None:
        """The study of this study's replicates as `lane` sees it, from the moment it exists."""
        if self.replicates is None and not self.name.endswith(SEEDS):
            if not has_replicates(self.inner, self.name):
                return None
            self.replicates = self._open(self.name + SEEDS)
            self.replicates.bind(self.context.dataset)
        return lane.of_replicates(self.replicates)

    def _open(self, name: str) -> StudySession:
        options = self.options
        return StudySession.open(self.inner, name, self.claim, patience=options.patience, background=options.background)
