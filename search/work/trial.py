"""One trial from its configuration to its outcome: epochs, reports, pruning, and each way it can end."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.errors import DeviceMemoryError
from lobmodels.metric import metric_of
from lobmodels.training.epochs import EpochRecord
from lobmodels.training.run import TrainingRun
from lobmodels.training.turns import JobDropped
from search.errors import SearchError, WorkerCannotGoOn
from search.study.pruners import needs_news
from search.study.record import HISTORY, read_trial, stored_state_of
from search.study.retention import drop_states, make_room
from search.study.writers import write_epoch, write_scores, write_start, write_training, write_withdrawal
from search.studyfile.space import suggest
from search.work.context import WorkerContext
from search.work.device_work import DeviceWork
from search.work.events import Event
from search.work.failure import Failure, Upload, batch_of, failure_of
from search.work.history import history_csv
from search.work.hung import leave
from search.work.kept import KeptRun, store_kept
from search.work.lane import Lane
from search.work.outage import end_trial, outlast
from search.work.outcome import Outcome
from search.work.rescue import SavedRun, store_files
from search.work.resume import ResumeState
from search.work.session import StudySession
from search.work.stopping import Stop
from search.work.task import Task
from search.work.watchdog import Watchdog
from storage.claims import LOSSES, Batch
from storage.errors import ClaimLost, StorageError, Unavailable
from storage.optuna_internals import trial_id_of

WEIGHTS, TABLE = "application/octet-stream", "text/csv"

log = logging.getLogger(__name__)

File = tuple[str, str, bytes]  # name, type, content


class TrialInProgress:
    """One trial that this worker has taken. `run` trains it to its outcome, in the thread of its lane.

    `DeviceWork` computes, in turns with the worker's other runs; all else (database, files, decisions) delays none.
    """

    def __init__(self, context: WorkerContext, session: StudySession, trial: optuna.Trial, lane: Lane) -> None:
        self.context, self.session, self.trial, self.lane = context, session, trial, lane
        self.storage = session.storage
        frozen = self.storage.own()
        self.number, self.trial_id = frozen.number, trial_id_of(frozen)
        self.attempt = 1 + int(frozen.system_attrs.get(LOSSES, 0))
        self.resume = ResumeState(self.storage, self.trial_id, session.artifacts, stored_state_of(frozen), self._note)
        self.training: TrainingRun | None = None
        self.pruned_at: int | None = None  # the epoch at which the pruner decided, perhaps from the background

    def run(self) -> Outcome:
        """Train until the trial ends. Raises `WorkerCannotGoOn` where this worker can take no further trial."""
        try:
            outcome = self._attempt()
        except ClaimLost as error:
            outcome = Outcome("lost", str(error))
        except Unavailable as error:  # a stop is due before the outage is over: nothing is left to do here
            outcome = Outcome("left", f"{error}; any worker resumes this trial at its last stored epoch")
        finally:
            self.training = None
            self.storage.drop()  # also where this worker ends: no beat may hold the trial any longer
        self._emit("end", state=outcome.state, text=outcome.text, score=outcome.value)
        return outcome

    def _attempt(self) -> Outcome:
        try:
            config = outlast(lambda: suggest(self.session.spec, self.trial), self.context.stop, self._note)
            earlier = self.session.ran_before(config)
            if earlier is not None:
                return self._withdraw(earlier)
            return self._on_device(self._start(config))
        except (ClaimLost, Unavailable, WorkerCannotGoOn):  # not the trial's failure
            raise
        except Exception as error:  # any other error ends this trial, not the worker
            return self._fail(failure_of(error))

    def _withdraw(self, earlier: FrozenTrial) -> Outcome:
        """End this trial, whose configuration ran before, without a run; a complete run of it gets a replicate."""
        repeated = outlast(lambda: self.session.repeat(earlier), self.context.stop, self._note)
        self._end(write_withdrawal(earlier.number, repeated=repeated))
        what = "it is repeated under another seed" if repeated else "another configuration is drawn"
        return Outcome("withdrawn", f"ran before as trial {earlier.number}: {what}")

    def _start(self, config: RunConfig) -> Task:
        """Record configuration, seed, fold, worker and device; returns what is to be trained."""
        task = Task.of(self.session.spec, read_trial(self.session.name, self.storage.own()), config)
        here = self.context
        self.storage.put(write_start(config, task.seed, here.worker, here.device_name, self.attempt, task.fold))
        self._emit("start", epochs=task.epochs(here.dataset))
        return task

    def _on_device(self, task: Task) -> Outcome:
        """Train beside the worker's other runs; where memory was too small for that, go on when fewer train at once."""
        room, stopped = self.context.room, self.context.stop.due
        while True:
            try:
                return self._train(task)
            except JobDropped as dropped:  # another run lost the device or hangs
                return self._hand_back(str(dropped))
            except (DeviceMemoryError, torch.OutOfMemoryError) as error:
                if not room.set_aside():
                    raise
                self._note(f"{error}; goes on from its last epoch when fewer runs train at once")
            self.training = None
            self.context.turns.call(self.context.free_memory)
            if not room.again(stopped):
                return self._hand_back()

    def _train(self, task: Task) -> Outcome:
        hung = lambda waited: leave(self.context, self.storage, self._note, waited)  # noqa: E731
        with Watchdog(hung, lambda: self.context.stop.urgent) as watchdog:
            device = DeviceWork(self.context, self.lane, watchdog, self._note)
            run = self.training = device.build(task)
            outlast(self.resume.fetch, self.context.stop, self._note)
            if device.call(lambda: self.resume.restore(run)):
                self.storage.forget_reports(run.epoch)
                self._report_missing(run)
                self._emit("resume", epoch=run.epoch)
            ended = self._epochs(run, device)
            if ended is not None:
                return ended
            checkpoint = device.finish(run, f"{self.session.name}#{self.number}")
        return self._finish(run, checkpoint, task)

    def _epochs(self, run: TrainingRun, device: DeviceWork) -> Outcome | None:
        """Train to the last epoch; returns None there, or the outcome of a run that ended before it."""
        while not run.finished:
            if self.context.stop.due(device.lasted or (run.history[-1].seconds if run.history else 0.0)):
                return self._hand_back()
            record = device.epoch(run, self.resume)
            if record is None:
                return self._hand_back()
            self._report(run, record)
            if run.finished:
                break
            if self._should_prune(record.epoch):
                return self._finish_pruned(run)
            if self.resume.due(self.context.checkpoint_every):
                self.resume.save()
        return None

    def _report_missing(self, run: TrainingRun) -> None:
        """Report restored epochs that the database lacks: a state may be stored before the last report that led to it,
        when it took the place of one that waited in an outage, and then its worker was killed."""
        reported = set(self.storage.own().intermediate_values)
        for number, record in enumerate(run.history):
            if record.epoch not in reported:
                self.storage.put(write_epoch(record, sum(past.seconds for past in run.history[: number + 1])))

    def _report(self, run: TrainingRun, record: EpochRecord) -> None:
        spent = sum(past.seconds for past in run.history)
        self.storage.put(write_epoch(record, spent, self.context.gpu_use()))
        scores = {} if run.plan else {"score": record.mean, "best": run.history[run.best_epoch].mean}
        self._emit("epoch", epoch=record.epoch, epochs=run.epochs, seconds=record.seconds, **scores)

    def _should_prune(self, epoch: int) -> bool:
        """Ask the pruner with the trials read so far, and again in the background once the others' latest are read.

        Not asked after the last epoch: nothing is left to save then, and the weights are worth keeping.
        """
        pruner = self.session.spec.pruner  # replicates and refits are in a study without one
        if pruner.name == "none" or epoch < pruner.warmup_epochs:
            return False
        study, known = self.session.study, copy.deepcopy(self.storage.own())

        def decide() -> None:  # not by `trial.should_prune()`: that object has not seen the reports, sent in batches
            if self.pruned_at is None and study.pruner.prune(study, known):
                self.pruned_at = epoch

        decide()
        if self.pruned_at is None and needs_news(study.pruner, epoch + 1, self.storage.refresh_due()):
            self.storage.refresh(decide)
        return self.pruned_at is not None

    # Ends -------------------------------------------------------------------------------------------------------

    def _finish(self, run: TrainingRun, checkpoint: Checkpoint, task: Task) -> Outcome:
        value = task.value(checkpoint)
        batch = write_training(run.history, run.best_epoch, run.stop_reason or "")
        batch.merge(write_scores(checkpoint.scores, checkpoint.parameters))
        batch.state, batch.values = TrialState.COMPLETE, [value]
        files = self._files(checkpoint, batch)

        def upload() -> Batch:
            stored = store_files(self.session.artifacts, files, self.trial_id)
            stored.merge(batch)
            return stored

        self.storage.put(upload)
        try:
            self.storage.end(Batch())
        except Unavailable as error:
            kept = self._keep(batch, files, error)
            left = store_kept(kept, self.storage, self.context.worker, self.context.stop, self._note)
            if left is not None:
                return Outcome("kept", f"{left.path} ({error})", value)
        self._clean_up()
        return Outcome("complete", task.words(run), None if task.order else value)

    def _files(self, checkpoint: Checkpoint, batch: Batch) -> list[File]:
        """What is stored with a complete trial; the checkpoint is the first."""
        name = self._file_name
        table = history_csv(batch.user_attrs[HISTORY])
        return [(f"{name}.safetensors", WEIGHTS, checkpoint.to_bytes()), (f"{name}.csv", TABLE, table)]

    def _finish_pruned(self, run: TrainingRun) -> Outcome:
        reason = f"pruned after {run.epoch} epochs"
        batch = write_training(run.history, run.best_epoch, reason)
        best = run.history[run.best_epoch].mean
        batch.state, batch.values = TrialState.PRUNED, [best]
        if self.session.spec.second_look.share:
            batch.merge(self.resume.keep())
        self._end(batch)
        self._clean_up()
        return Outcome("pruned", reason, best)

    def _fail(self, failure: Failure) -> Outcome:
        """Record the failure: reason, history, and the traceback of an unexpected error as an artifact."""
        worst = metric_of(self.context.dataset.schema).lowest
        upload = Upload(self.session.artifacts, self.trial_id, self._file_name)
        self._end(batch_of(failure, self.training, upload, self._note, worst))
        self._clean_up()
        return Outcome("failed", failure.reason, broken_device=failure.broken_device)

    def _end(self, batch: Batch) -> None:
        end_trial(self.storage, batch, self.context.stop, self._note)

    def _hand_back(self, why: str = "") -> Outcome:
        """Store the last epoch and queue the trial again, for any worker to resume."""
        self.resume.save()
        self.storage.end(Batch(state=TrialState.WAITING))
        return Outcome("handed back", why or self.context.stop.reason or "")

    def _keep(self, batch: Batch, files: list[File], error: Unavailable) -> KeptRun:
        """Save the finished run to disk, because the database cannot be reached and this process may end before it."""
        kept = KeptRun.save(SavedRun.of(self.session.name, self.storage.own(), batch, files), self.context.keep_folder)
        self._note(f"{error}; {kept.where}; this worker stores it when the database is back")
        return kept

    def _clean_up(self) -> None:
        """After the end: remove the stored state, and a checkpoint that is no longer among the best."""
        try:
            self.resume.remove()
            spec, trials = self.session.spec, self.session.trials()  # which are read as the spec needs them
            make_room(self.session.artifacts, trials, spec.checkpoints.keep, self.number)
            if spec.second_look.share:
                drop_states(self.session.artifacts, trials, spec, self.number)
        except Exception as error:  # the trial has ended well: what could not be removed only takes space
            log.debug("clean-up failed", exc_info=True)
            self._note(f"left for `lobtuna gc`: {failure_of(error).reason}")

    @property
    def _file_name(self) -> str:
        """How the files that are stored with the trial are called, without their suffix."""
        return f"{self.session.name.replace('@', '-')}-{self.number}"

    def _note(self, text: str) -> None:
        self._emit("note", text=text)

    def _emit(self, kind: str, **fields: Any) -> None:
        self.context.emit(Event(kind, self.session.name, self.number, lane=self.lane.number, **fields))


def store_states(trials: Sequence[TrialInProgress], stop: Stop) -> None:
    """At a first signal: store the epochs so far, because a second signal ends the process at once."""
    for trial in trials:
        if not stop.urgent:
            continue
        try:
            trial.resume.save()
        except (StorageError, SearchError, RuntimeError) as error:  # the trial ended at this moment
            log.debug("nothing to store: %s", error)
