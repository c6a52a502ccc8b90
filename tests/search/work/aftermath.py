"""The audit after an attack: every promise about trials, values, artifacts and files that must hold."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from lobmodels.config import RunConfig
from lobmodels.data import load_dataset
from lobmodels.training.batches import RunData
from lobmodels.training.run import TrainingRun
from search.study.open import SEEDS
from search.study.retention import collect
from storage.artifacts import download
from storage.backends.registry import open_storage
from storage.store import artifacts_of
from tests.machines import CONTEXT, Worker, assert_sound, small_study, trials
from tests.search.work.planner import complete_replicates
from tests.search.work.s3_server import Bucket

FOREIGN = "somebody-elses"  # a plain Optuna study in the same database
FILES = {"notes.txt": b"mine", "other-7.run": b"not a run of ours", "small-old.csv": b"1,2"}  # in the working folder


class Foreign:
    """What is not ours: a plain Optuna study in the same database, a user's files in the working folder, and other
    people's objects in the bucket, if there is one."""

    def __init__(self, url: str, folder: Path, bucket: Bucket | None) -> None:
        self.url, self.folder, self.bucket = url, folder, bucket
        study = optuna.create_study(study_name=FOREIGN, storage=open_storage(url))
        study.ask()
        study.enqueue_trial({"x": 1.0})
        self.trials = study.get_trials()
        for name, content in FILES.items():
            (folder / name).write_bytes(content)

    def assert_untouched(self) -> None:
        """Nothing of it was changed, and the working folder holds nothing else: no finished run is on disk alone."""
        study = optuna.load_study(study_name=FOREIGN, storage=open_storage(self.url))
        assert study.get_trials() == self.trials
        assert {path.name: path.read_bytes() for path in self.folder.iterdir()} == FILES
        if self.bucket is not None:
            self.bucket.assert_foreign_untouched()

    @property
    def artifacts(self) -> set[str]:
        """The names of other people's objects beside our artifacts."""
        return set() if self.bucket is None else self.bucket.foreign_names


def audit(url: str, data: Path, foreign: Foreign, device: str = "cpu") -> dict[str, int]:
    """Check every promise; returns how many trials and artifacts there were, and how often trials were taken over.

    Values are compared with those of runs alone on `device`, where the workers trained.
    """
    assert_sound(url)
    done = trials(url)
    assert {trial.state for trial in done} == {TrialState.COMPLETE}, Counter(t.state.name for t in done)
    repeated = complete_replicates(url, "small")
    if repeated:
        assert_sound(url, "small" + SEEDS)
    searched, done = len(done), done + repeated
    pairs = zip(done, values_alone(data, done, device), strict=True)
    wrong = [(trial.number, trial.value, alone) for trial, alone in pairs if trial.value != alone]
    assert not wrong, f"(number, value, value of the same seed trained alone): {wrong}"
    foreign.assert_untouched()
    attempts = Counter(int(trial.user_attrs["attempt"]) for trial in done)
    again = sum(count for attempt, count in attempts.items() if attempt > 1)
    return {
        "trials": searched,
        "replicates": len(repeated),
        "taken over": again,
        "most attempts": max(attempts),
        "artifacts": _artifacts(url, done, foreign.artifacts),
    }


def _artifacts(url: str, done: list[FrozenTrial], foreign: set[str]) -> int:
    """Each artifact is named by exactly one trial, and each named one is there; what crashes left, gc removes, and it
    leaves what is `foreign`."""
    storage = open_storage(url)
    store = artifacts_of(optuna.load_study(study_name="small", storage=storage))
    swept = collect(storage, store, age=float("-inf"))  # the server's clock was set: an age may be negative
    found = Counter(entry.artifact_id for entry in store.entries())
    assert swept.foreign == len(foreign) and foreign <= found.keys()
    stored = found.keys() - foreign
    named = Counter(key.partition(":")[2] for t in done for key in t.system_attrs if key.startswith("artifacts:"))
    kept = {trial.user_attrs["checkpoint"] for trial in done}
    assert max(named.values()) == max(found.values()) == 1 and stored <= named.keys() and kept <= stored
    for artifact_id in stored:
        download(store, artifact_id)
    return len(stored)


def events_of(workers: list[Worker]) -> dict[str, int]:
    """How often workers did what faults make necessary."""
    kinds = Counter[str]()
    for worker in workers:
        for event in worker.events:
            kinds[event.kind if event.kind in ("resume", "recovered") else f"{event.kind} {event.state}".strip()] += 1
            kinds["run kept on disk"] += "is kept in" in event.text
            kinds["run of a killed worker stored"] += "an earlier worker had kept" in event.text
            kinds["run in memory alone"] += "neither the database nor" in event.text
    shown = ("resume", "recovered", "end handed back", "end lost", "end left", "run kept on disk")
    shown += ("run in memory alone", "run of a killed worker stored")
    return {kind: kinds[kind] for kind in shown}


def values_alone(data: Path, trials: list[FrozenTrial], device: str) -> list[float]:
    """The value of each trial's configuration and seed, trained without any fault: thousands of them after an hour,
    therefore by a process for each core."""
    with ProcessPoolExecutor(mp_context=CONTEXT) as pool:
        return list(pool.map(partial(trained_alone, data, device=device), trials, chunksize=16))


def trained_alone(data: Path, trial: FrozenTrial, device: str = "cpu") -> float:
    """The value of the trial's configuration and seed, trained in this process without any fault."""
    torch.set_num_threads(1)  # as workers have it
    config = RunConfig.parse(trial.user_attrs["configuration"])
    prepared = PREPARED(data, config, device)
    run = TrainingRun(config, trial.user_attrs["seed"], prepared)
    while not run.finished:
        run.train_epoch()
    return run.history[run.best_epoch].mean


def _prepare() -> Callable[[Path, RunConfig, str], RunData]:
    known: dict[tuple[Any, ...], RunData] = {}

    def prepare(data: Path, config: RunConfig, device: str) -> RunData:
        key = (data, device, config.feature_groups(), config.feature_settings(), config.normalizer)
        if key not in known:
            known[key] = RunData.prepare(load_dataset(data), config, device, small_study().validation.report_fraction)
        return known[key]

    return prepare


PREPARED = _prepare()
