"""A worker: asks for trials, runs them one after another, brings back those of silent workers, stops well."""

from __future__ import annotations

import logging
import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

import optuna

from lobmodels.data import load_dataset
from lobmodels.training.device import select_device
from lobmodels.training.host import tune_host
from search.errors import KeptError, SearchError
from search.report.note import NoteKeeper
from search.study.replication import advance
from search.study.runs import SEEDS, existing_storage
from search.work.context import Workplace
from search.work.device_lock import Sharing
from search.work.events import Event, Listener
from search.work.session import Desk
from search.work.stopping import Stop
from search.work.trial import Outcome, TrialInProgress
from storage.backends.database import PATIENCE
from storage.claims import DEFAULT_GRACE, Claim
from storage.errors import StorageError

log = logging.getLogger(__name__)

LOOK_AGAIN = 5.0  # seconds between two looks of a worker that waits
ALIKE = 5  # trials in a row that fail for one reason: the fault lies with the study or the machine, not with the trials


@dataclass(frozen=True)
class WorkOptions:
    """How a worker works. Durations in seconds."""

    device: str | None = None  # None: the first GPU if there is one, otherwise the CPU
    threads: int = 1  # more than one stalls as soon as anything else computes on the machine
    trials: int | None = None  # most trials of this worker
    time_limit: float | None = None
    wait: bool = False  # stay when there is nothing to do: replicates may be asked for
    grace: float = DEFAULT_GRACE  # silence after which others take this worker's trial over
    checkpoint_every: float = 60.0
    patience: float = PATIENCE  # for a database that is away
    background: bool = True
    keep_folder: Path = Path()
    shared_device: str | None = None  # name under which slots share a device
    follow_parent: bool = False


@dataclass
class WorkSummary:
    """What a worker did: trials by how they ended, and why it stopped."""

    outcomes: dict[str, int] = field(default_factory=dict)
    stopped: str = ""

    def count(self, outcome: Outcome) -> None:
        self.outcomes[outcome.state] = self.outcomes.get(outcome.state, 0) + 1

    @property
    def trials(self) -> int:
        """Trials that ended here."""
        return sum(self.outcomes.get(state, 0) for state in ("complete", "pruned", "failed", "kept"))


def silent(_: Event) -> None:
    """A listener that does not listen."""


def work(
    url: str,
    name: str,
    data: Path | str,
    *,
    options: WorkOptions | None = None,
    stop: Stop | None = None,
    tell: Listener = silent,
) -> WorkSummary:
    """Work on the study `name` until its budget is spent, a limit is reached or a stop is asked for.

    Raises `SearchError` for a study that is missing or belongs to other data or another version, `StorageError` for a
    database that is gone, `DataError` for data that cannot be read, `DeviceError` for a device that is not there.
    """
    options = options or WorkOptions()
    stop = stop or Stop(options.time_limit)
    stop.follow_parent = options.follow_parent
    with stop.on_signals():
        return _Worker(url, name, Path(data), options, stop, tell).run()


class _Worker:
    def __init__(self, url: str, name: str, data: Path, options: WorkOptions, stop: Stop, tell: Listener) -> None:
        self.name, self.options, self.stop, self.tell = name, options, stop, tell
        device = select_device(options.device)
        tune_host(options.threads)
        worker = f"{socket.gethostname()}:{os.getpid()}"
        self.claim = Claim(worker, grace=options.grace)
        self.inner = existing_storage(url, name, patience=options.patience)
        self.desk = self._open(name)
        dataset = load_dataset(data)
        self.desk.bind(dataset.fingerprint)
        self.place = Workplace(
            dataset=dataset,
            device=device,
            worker=worker,
            stop=stop,
            tell=tell,
            sharing=Sharing(options.shared_device),
            checkpoint_every=options.checkpoint_every,
            keep_folder=options.keep_folder,
        )
        self.replicates: Desk | None = None
        self.summary = WorkSummary()
        self.failures: list[str] = []  # reasons of the last trials, as long as they fail alike
        self.current: TrialInProgress | None = None

    def run(self) -> WorkSummary:
        self.stop.when_asked(self._store_what_there_is)
        self.tell(
            Event("ready", self.name, text=f"{self.place.device_name}, data {self.place.dataset.fingerprint[:8]}")
        )
        notes = NoteKeeper(self.inner, self.name, self.place.worker)
        notes.start()
        try:
            self._work()
        finally:
            notes.stop()
        self.tell(Event("stop", self.name, text=self.summary.stopped))
        return self.summary

    def _work(self) -> None:
        while not self._enough():
            found = self._next()
            if found is None:
                continue
            self.current = TrialInProgress(self.place, *found)
            outcome = self.current.run()
            self.current = None
            self.summary.count(outcome)
            if outcome.state == "kept":
                raise KeptError(outcome.text)
            self._leave_a_sinking_study(outcome)

    def _leave_a_sinking_study(self, outcome: Outcome) -> None:
        """A broken card or a space that cannot be trained would fail the whole budget within minutes."""
        reason = re.sub(r"[\d.]+", "#", outcome.text) if outcome.state == "failed" else ""
        self.failures = [*(past for past in self.failures if past == reason), reason] if reason else []
        if len(self.failures) >= ALIKE:
            raise SearchError(
                f"{ALIKE} trials in a row failed here alike: {outcome.text}; mend that, or change the space with "
                "lobtuna create FILE --revise, then start this worker again"
            )

    def _enough(self) -> bool:
        if self.stop.due():
            self.summary.stopped = self.stop.reason or ""
        elif self.options.trials is not None and self.summary.trials >= self.options.trials:
            self.summary.stopped = f"{self.options.trials} trials done here"
        return bool(self.summary.stopped)

    def _next(self) -> tuple[Desk, optuna.Trial] | None:
        """The next trial: a replicate where one is queued, else the study's; None after a wait, or at the end."""
        self._recover(every=self.options.grace / 4)
        replicates = self._replicates()
        trial = replicates.take() if replicates is not None else None
        if replicates is not None and trial is None and advance(self.inner, self.name):
            replicates.storage.forget()
            trial = replicates.take()
        if replicates is not None and trial is not None:
            return replicates, trial
        why = self.desk.spent()
        if why is None:
            return self.desk, self.desk.ask()
        self._wait_or_leave(why)
        return None

    def _wait_or_leave(self, why: str) -> None:
        """Leave only when every trial still running elsewhere has shown a sign of life: the last one to go would
        otherwise leave a dead worker's trial behind. Then stay only if asked to."""
        self.tell(Event("wait", self.name, text=why))
        desks = [desk for desk in (self.desk, self.replicates) if desk is not None]
        since = {desk.name: desk.storage.fleet.now() for desk in desks}
        while any(desk.storage.fleet.unheard(desk.study._study_id, since[desk.name]) for desk in desks):
            self.stop.sleep(min(LOOK_AGAIN, self.options.grace / 4))
            if self.stop.due() or self._recover(every=0.0):
                return
        if self.options.wait:
            self.stop.sleep(LOOK_AGAIN)
        else:
            self.summary.stopped = why

    def _recover(self, every: float) -> int:
        """Queue trials of silent workers again; returns how many."""
        count = 0
        for desk in (self.desk, self.replicates):
            if desk is None:
                continue
            for found in desk.recover(every):
                fate = "given up" if found.given_up else "queued again"
                self.tell(Event("recovered", desk.name, found.number, text=f"{found.worker} fell silent: {fate}"))
                count += not found.given_up
        return count

    def _replicates(self) -> Desk | None:
        """The study of this study's replicates, from the moment it exists."""
        if self.replicates is None and not self.name.endswith(SEEDS):
            try:
                self.inner.get_study_id_from_name(self.name + SEEDS)
            except KeyError:
                return None
            self.replicates = self._open(self.name + SEEDS)
            self.replicates.bind(self.place.dataset.fingerprint)
        return self.replicates

    def _open(self, name: str) -> Desk:
        options = self.options
        return Desk.open(self.inner, name, self.claim, patience=options.patience, background=options.background)

    def _store_what_there_is(self) -> None:
        """At the first sign of an end: should a second one cut it short, the epochs so far are safe."""
        current = self.current
        if current is None or not self.stop.urgent:
            return
        try:
            current.save_state()
        except (StorageError, SearchError, RuntimeError) as error:  # the trial ended in this very moment
            log.debug("nothing to store: %s", error)
