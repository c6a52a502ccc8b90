"""Workers as processes of their own, which tests kill, stop and start again; and what must hold afterwards."""

import faulthandler
import json
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import TrialState

from lobmodels.checkpoint import Checkpoint
from search.errors import EXPECTED, told
from search.study.create import create_study
from search.study.record import read_trial
from search.studyfile.spec import StudySpec
from search.work.events import Event
from search.work.exits import Exit, exit_of
from search.work.options import WorkOptions
from search.work.worker import work
from storage.artifacts import download
from storage.backends.registry import open_storage
from storage.store import artifacts_of

# The server imports torch once; a worker is then a fork of it, up in a moment, and still a process to be killed.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["search.work.worker", "tests.machines", "tests.pace", "tests.preloaded"])

Hook = Callable[..., None]


def small_study(name: str = "small", *, trials: int = 4, epochs: int = 3, **terms: Any) -> StudySpec:
    """A study whose runs take a second: a GRU of four units on two dozen sequences."""
    parameters: dict[str, Any] = {
        "hidden_size": 4,
        "num_layers": 1,
        "batch_size": 12,
        "epochs": epochs,
        "early_stopping": epochs,
        "lr": {"float": [1e-3, 1e-2], "log": True},
        "head": {"choices": ["linear", "mlp"]},
    }
    document = {
        "name": name,
        "parameters": parameters,
        "pruner": {"name": "none"},
        "budget": {"trials": trials},
        **terms,
    }
    return StudySpec.from_json(document)


class Worker:
    """A worker process. Its events are lines of a file, so that they outlive it; `said` has what it printed.

    It ends with the exit code that `lobtuna work` would have.
    """

    def __init__(
        self, url: str, study: str, data: Path, folder: Path, hook: Hook | None = None, **options: Any
    ) -> None:
        self.log = folder / f"worker-{time.monotonic_ns()}.jsonl"
        self.log.touch()
        settings = {"threads": 1, "device": "cpu", "grace": 2.0, "checkpoint_every": 0.0, "keep_folder": folder}
        arguments = (url, study, data, {**settings, **options}, self.log, hook)
        self.process = CONTEXT.Process(target=_main, args=arguments, daemon=True)
        self.process.start()
        STARTED.append(self)

    @property
    def events(self) -> list[Event]:
        """The events that the worker has emitted so far."""
        lines = self.log.read_bytes().split(b"\n")[:-1]
        return [Event.from_line(line) for line in lines if not line.startswith(b'{"error"')]

    @property
    def error(self) -> str:
        """The expected failure it ended with, or nothing."""
        lines = [line for line in self.log.read_bytes().split(b"\n") if line.startswith(b'{"error"')]
        return str(json.loads(lines[-1])["error"]) if lines else ""

    @property
    def said(self) -> str:
        """The last thousand characters that it wrote to stderr: warnings, tracebacks."""
        printed = self.log.with_suffix(".stderr")
        return printed.read_text()[-1000:] if printed.exists() else ""

    def wait_for(self, wanted: Callable[[Event], bool], timeout: float = 240.0) -> Event:
        """The first event that is wanted."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for event in self.events:
                if wanted(event):
                    return event
            if not self.process.is_alive():
                break
            time.sleep(0.02)
        raise AssertionError(f"no such event; exit {self.process.exitcode}, {self.error}: {self.events}")

    def wait_epoch(self, epoch: int, trial: int | None = None) -> Event:
        """Wait until an epoch (from 0) has ended."""
        return self.wait_for(lambda e: e.kind == "epoch" and e.epoch == epoch and trial in (None, e.trial))

    def kill(self) -> None:
        """kill -9, and wait until it is dead."""
        self.process.kill()
        self.process.join(60)

    def terminate(self) -> None:
        """One SIGTERM."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGTERM)

    def join(self, timeout: float = 400.0) -> int:
        """Wait for the end; returns the exit code."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"the worker did not end: {self.events[-5:]}")
        return self.process.exitcode


class Killable(Protocol):
    """A process of a test."""

    def kill(self) -> None:
        """kill -9, and wait until it is dead."""


STARTED: list[Killable] = []


def kill_all() -> None:
    """End the workers that a test has left, one that failed before it came to their end."""
    while STARTED:
        STARTED.pop().kill()


def _main(url: str, study: str, data: Path, options: dict[str, Any], log: Path, hook: Hook | None) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(os.open(log.with_suffix(".stderr"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    faulthandler.enable(2)
    if hook is not None:
        hook()
    try:
        emit = lambda event: os.write(descriptor, event.to_line())  # noqa: E731
        work(url, study, data, options=WorkOptions(**options), emit=emit, end_process=os._exit)
    except EXPECTED as error:
        _leave(descriptor, told(error), exit_of(error))
    except Exception as error:
        _leave(descriptor, f"{type(error).__name__}: {error}\n{traceback.format_exc()}", Exit.CRASHED)
    os._exit(Exit.DONE)


def _leave(descriptor: int, error: str, code: Exit) -> None:
    os.write(descriptor, json.dumps({"error": error}).encode() + b"\n")
    os._exit(code)


def create(url: str, spec: StudySpec) -> optuna.Study:
    """The study, created."""
    return create_study(spec, url)


def trials(url: str, study: str = "small") -> list[optuna.trial.FrozenTrial]:
    """All trials as a fresh look at the database shows them."""
    return optuna.load_study(study_name=study, storage=open_storage(url)).get_trials(deepcopy=False)


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 120.0) -> None:
    """Wait until `condition()` is true; `what` says what did not happen in time."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not in {timeout:.0f} s: {what}"
        time.sleep(0.02)


def wait_stored(url: str, epochs: int, numbers: Sequence[int] = (0,), study: str = "small") -> None:
    """Wait until each of these trials has a stored state of at least so many epochs: reports and states are written
    after the event of their epoch."""

    def stored() -> bool:
        found = [read_trial(study, trial).stored_state for trial in trials(url, study) if trial.number in numbers]
        return len(found) == len(numbers) and all(state is not None and state.epoch >= epochs for state in found)

    wait_until(stored, f"trials {list(numbers)} have a state of {epochs} epochs")


def outcome_of(url: str, study: str = "small") -> list[tuple[Any, ...]]:
    """What must not depend on faults: numbers, states, parameters, values, seeds, reports."""
    return [
        (t.number, t.state.name, t.params, t.values, t.user_attrs.get("seed"), t.intermediate_values)
        for t in trials(url, study)
    ]


def assert_sound(url: str, study: str = "small") -> None:
    """Every finished run has readable weights, every stored byte its checksum, and nothing runs without a worker."""
    opened = optuna.load_study(study_name=study, storage=open_storage(url))
    store = artifacts_of(opened)
    for entry in store.entries():
        download(store, entry.artifact_id)
    for trial in opened.get_trials(deepcopy=False):
        assert trial.state != TrialState.RUNNING, f"trial {trial.number} runs without a worker"
        if trial.state == TrialState.COMPLETE:
            checkpoint = Checkpoint.from_bytes(download(store, trial.user_attrs["checkpoint"]))
            assert checkpoint.scores["select"]["mean"] == trial.value
            assert len(trial.intermediate_values) == trial.user_attrs["epochs"] == len(trial.user_attrs["history"])
    numbers = [trial.number for trial in opened.get_trials(deepcopy=False)]
    assert numbers == list(range(len(numbers)))


def weights_of(url: str, study: str = "small") -> Iterator[bytes]:
    """The weights of every complete run, as bytes."""
    opened = optuna.load_study(study_name=study, storage=open_storage(url))
    store = artifacts_of(opened)
    for trial in opened.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        checkpoint = Checkpoint.from_bytes(download(store, trial.user_attrs["checkpoint"]))
        yield b"".join(weight.numpy().tobytes() for _, weight in sorted(checkpoint.weights.items()))
