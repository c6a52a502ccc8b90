"""One trial from its configuration to its outcome: epochs, reports, pruning, stored states, and how each can end."""

from __future__ import annotations

import copy
import time
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lobmodels.config import RunConfig
from lobmodels.errors import CheckpointError, ConfigError, DeviceMemoryError, TrainingError
from lobmodels.training.run import EpochRecord, TrainingRun
from search.study.retention import RESUME, make_room, remove
from search.studyfile.space import suggest
from search.work.context import Workplace
from search.work.curves import history_csv, learning_curve_svg
from search.work.events import Event
from search.work.rescue import KeptRun, store_files
from search.work.session import Desk
from storage.artifacts import download, upload_bytes
from storage.claims import LOSSES, REASON, Batch
from storage.errors import ArtifactError, ClaimLost, Unavailable

WEIGHTS, TABLE, PICTURE = "application/octet-stream", "text/csv", "image/svg+xml"


@dataclass(frozen=True)
class Outcome:
    """How a trial ended here: complete, pruned, failed, handed back, lost (to another worker), or kept (on disk)."""

    state: str
    text: str
    value: float | None = None


class TrialInProgress:
    """One asked trial on one workplace. `run` sees it through to its outcome."""

    def __init__(self, place: Workplace, desk: Desk, trial: optuna.Trial) -> None:
        self.place, self.desk, self.trial = place, desk, trial
        self.storage = desk.storage
        record = self._record()
        self.number, self.trial_id = record.number, record._trial_id
        self.attempt = 1 + int(record.system_attrs.get(LOSSES, 0))
        resume = record.system_attrs.get(RESUME)
        self.stored_state: str | None = resume["artifact"] if resume else None  # artifact id of the last stored state
        self.training: TrainingRun | None = None
        self.latest: bytes | None = None  # the state after the last epoch
        self.latest_epoch = 0  # epochs that it holds
        self.saved = time.monotonic()
        self.pruned_at: int | None = None  # an epoch at which the others, once their news came in, had won

    def run(self) -> Outcome:
        """Train until the trial ends. Raises `Unavailable` only where even the outcome could not be kept."""
        try:
            outcome = self._attempt()
        except ClaimLost as error:
            outcome = Outcome("lost", str(error))
        finally:
            self.training = None
        self.storage.drop()
        self._tell("end", state=outcome.state, text=outcome.text, score=outcome.value)
        return outcome

    def _attempt(self) -> Outcome:
        try:
            config = suggest(self.desk.spec, self.trial)
            seed = self._start(config)
            return self._sharing(config, seed)
        except (ConfigError, TrainingError) as error:
            return self._fail(str(error))

    def _start(self, config: RunConfig) -> int:
        """Record what the trial is; returns its seed."""
        seed = int(self.trial.user_attrs.get("seed", self.desk.spec.trial_seed(self.number)))
        attributes = {
            "seed": seed,
            "configuration": config.active(),
            "key": config.key(),
            "worker": self.place.worker,
            "device": self.place.device_name,
            "attempt": self.attempt,
        }
        self.storage.put(Batch(user_attrs=attributes))
        self._tell("start", epochs=config.epochs)
        return seed

    def _sharing(self, config: RunConfig, seed: int) -> Outcome:
        """Train beside other slots, and once more alone where they left too little memory."""
        sharing, stopped = self.place.sharing, self.place.stop.due
        try:
            with sharing.with_others(stopped) as ready:
                return self._train(config, seed) if ready else self._hand_back()
        except DeviceMemoryError as error:
            if sharing.name is None:
                raise
            self._tell("note", text=f"{error}; trying once more alone")
        self.training = None
        self.place.free_memory()
        with sharing.alone(stopped) as ready:
            return self._train(config, seed) if ready else self._hand_back()

    def _train(self, config: RunConfig, seed: int) -> Outcome:
        data = self.place.data_for(config, self.desk.spec.validation.report_fraction)
        run = self.training = TrainingRun(config, seed, data)
        self._restore(run)
        while not run.finished:
            if self.place.stop.due(run.history[-1].seconds if run.history else 0.0):
                return self._hand_back()
            record = run.train_epoch()
            self.latest, self.latest_epoch = run.state(), run.epoch
            self._report(run, record)
            if self._should_prune(record.epoch, last=run.finished):
                return self._finish_pruned(run)
            if time.monotonic() - self.saved >= self.place.checkpoint_every and not run.finished:
                self.save_state()
        return self._finish(run)

    # During the run ---------------------------------------------------------------------------------------------

    def _restore(self, run: TrainingRun) -> None:
        """Go on from the last stored epoch, if there is one and it can be read."""
        blob = self.latest
        if blob is None and self.stored_state is not None:
            try:
                blob = download(self.desk.artifacts, self.stored_state)
            except ArtifactError as error:
                self._tell("note", text=f"{error}; starting over")
        if blob is None:
            return
        try:
            run.restore(blob)
        except CheckpointError as error:
            self._tell("note", text=f"{error}; starting over")
            return
        self.latest, self.latest_epoch = blob, run.epoch
        self.storage.forget_reports(run.epoch)
        self._tell("resume", epoch=run.epoch)

    def _report(self, run: TrainingRun, record: EpochRecord) -> None:
        spent = sum(past.seconds for past in run.history)
        self.storage.put(Batch(intermediate={record.epoch: record.mean}, user_attrs={"seconds": spent}))
        self._tell(
            "epoch",
            epoch=record.epoch,
            epochs=run.config.epochs,
            score=record.mean,
            best=run.history[run.best_epoch].mean,
            seconds=record.seconds,
        )

    def _should_prune(self, epoch: int, last: bool) -> bool:
        """The verdict with what is known here now; with the others' latest news it follows from the background."""
        if isinstance(self.desk.study.pruner, optuna.pruners.NopPruner):
            return False
        if self.trial.should_prune():
            self.pruned_at = epoch if self.pruned_at is None else self.pruned_at
        if self.pruned_at is not None or last:
            return self.pruned_at is not None
        known = copy.deepcopy(self._record())

        def judge() -> None:
            if self.pruned_at is None and self.desk.study.pruner.prune(self.desk.study, known):
                self.pruned_at = epoch

        self.storage.refresh(judge)
        return False

    def save_state(self) -> None:
        """Upload the state after the last epoch in the background, and drop the one before it."""
        blob, self.saved = self.latest, time.monotonic()
        if blob is None:
            return
        epoch = self.latest_epoch
        store = self.desk.artifacts

        def send() -> Batch | None:
            try:
                artifact_id = upload_bytes(store, blob)
            except Unavailable as error:  # the next one is due in a minute; reports should not wait for this one
                self._tell("note", text=f"state of epoch {epoch} was not stored: {error}")
                return None
            previous.append(self.stored_state)
            self.stored_state = artifact_id
            return Batch(system_attrs={RESUME: {"artifact": artifact_id, "epoch": epoch}})

        def sweep() -> None:
            for artifact_id in previous:
                if artifact_id is not None:
                    remove(store, artifact_id)

        previous: list[str | None] = []
        self.storage.put(send)
        self.storage.put(sweep)

    # Ends -------------------------------------------------------------------------------------------------------

    def _finish(self, run: TrainingRun) -> Outcome:
        checkpoint = run.result(f"{self.desk.name}#{self.number}")
        value = float(checkpoint.scores["select"]["mean"])  # type: ignore[index]
        batch = self._summary(run, run.stop_reason or "")
        for split, scores in checkpoint.scores.items():
            batch.user_attrs |= {f"{split}_{part}": v for part, v in (scores or {}).items()}
        batch.user_attrs["parameters"] = sum(weight.numel() for weight in checkpoint.weights.values())
        batch.state, batch.values = TrialState.COMPLETE, [value]
        name = f"{self.desk.name.replace('@', '-')}-{self.number}"
        history = batch.user_attrs["history"]
        title, subtitle = f"{self.desk.name} #{self.number}", f"seed {run.seed}, scores on the selection sequences"
        files = [
            (f"{name}.safetensors", WEIGHTS, checkpoint.to_bytes()),
            (f"{name}.csv", TABLE, history_csv(history)),
            (f"{name}.svg", PICTURE, learning_curve_svg(history, title, subtitle)),
        ]

        def finish() -> Batch:
            both = store_files(self.desk.artifacts, files)
            both.merge(batch)
            return both

        ended = "stopped early" if run.stop_reason == "early_stopping" else "all epochs"
        text = f"{ended}, best epoch {checkpoint.best_epoch + 1} of {run.epoch}"
        try:
            self.storage.put(finish)
            self.storage.end(Batch())
        except Unavailable as error:
            return self._keep(batch, files, value, error)
        self._tidy()
        return Outcome("complete", text, value)

    def _finish_pruned(self, run: TrainingRun) -> Outcome:
        reason = f"pruned after {run.epoch} epochs"
        batch = self._summary(run, reason)
        best = run.history[run.best_epoch].mean
        batch.state, batch.values = TrialState.PRUNED, [best]
        self.storage.end(batch)
        self._tidy()
        return Outcome("pruned", reason, best)

    def _fail(self, reason: str) -> Outcome:
        reason = " ".join(reason.split())
        batch = Batch(user_attrs={REASON: reason}) if self.training is None else self._summary(self.training, reason)
        batch.state = TrialState.FAIL
        self.storage.end(batch)
        self._tidy()
        return Outcome("failed", reason)

    def _hand_back(self) -> Outcome:
        """Store the last epoch and queue the trial again, for any worker to go on with."""
        self.save_state()
        self.storage.end(Batch(state=TrialState.WAITING))
        return Outcome("handed back", self.place.stop.reason or "")

    def _keep(self, batch: Batch, files: list[tuple[str, str, bytes]], value: float, error: Unavailable) -> Outcome:
        """Put the finished run on disk: the database is gone, the work need not be."""
        record = self._record()
        whole = Batch(
            params={n: (d.to_internal_repr(record.params[n]), d) for n, d in record.distributions.items()},
            intermediate=dict(record.intermediate_values),
            user_attrs=dict(record.user_attrs),
        )
        whole.merge(batch)
        path = KeptRun(self.desk.name, self.number, self.trial_id, whole, files).save(self.place.keep_folder)
        return Outcome("kept", f"{path} ({error})", value)

    def _summary(self, run: TrainingRun, reason: str) -> Batch:
        history = [_rounded(asdict(record)) for record in run.history]
        seconds = sum(record.seconds for record in run.history)
        attributes: dict[str, Any] = {REASON: reason, "epochs": run.epoch, "history": history, "seconds": seconds}
        if run.history:
            attributes |= {"best_epoch": run.best_epoch, "seconds_per_epoch": seconds / run.epoch}
        return Batch(user_attrs=attributes)

    def _tidy(self) -> None:
        """After the end: the stored state has served, and the best checkpoints may have one too many."""
        store = self.desk.artifacts
        try:
            if self.stored_state is not None:
                remove(store, self.stored_state)
            make_room(store, self.desk.trials(), self.desk.spec.checkpoints.keep, self.number)
        except Unavailable as error:
            self._tell("note", text=f"left for `lobtuna gc`: {error}")

    def _record(self) -> FrozenTrial:
        return self.storage.own()

    def _tell(self, kind: str, **fields: Any) -> None:
        self.place.tell(Event(kind, self.desk.name, self.number, **fields))


def _rounded(record: dict[str, Any]) -> dict[str, Any]:
    """Floats to six significant digits: histories are read by eyes and curves."""
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in record.items()}
