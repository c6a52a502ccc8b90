"""A step that hangs is noticed by the time that epochs take, its process ends, and nothing else is taken for a hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState
from rich.console import Console

from search.study.record import read_trial
from search.work import supervisor
from search.work import watchdog as module
from search.work.options import WorkOptions
from search.work.supervisor import Slot, supervise
from search.work.watchdog import FACTOR, FIRST, LEAST, LEAST_STOPPING, Watchdog
from storage.claims import LOSSES
from tests.machines import assert_sound, create, small_study, trials
from tests.search.work import faulty_slot
from tests.search.work.faulty_slot import FOLDER, HANGS, LIMIT, PLAN

ROOT = Path(__file__).parents[3]


class Hung:
    """Counts the calls."""

    def __init__(self) -> None:
        self.waited: list[float] = []
        self.called = threading.Event()

    def __call__(self, waited: float) -> None:
        self.waited.append(waited)
        self.called.set()


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Limits of a fifth of a second."""
    monkeypatch.setattr(module, "TICK", 0.02)
    for name in ("LEAST", "FIRST", "LEAST_STOPPING"):
        monkeypatch.setattr(module, name, 0.2)
    return monkeypatch


def test_a_step_that_does_not_end_is_noticed_once(limits: pytest.MonkeyPatch) -> None:
    """`hung` is called after the limit, and not again."""
    hung = Hung()
    with Watchdog(hung) as dog, dog.watch():
        assert hung.called.wait(300)
        time.sleep(0.4)
    assert len(hung.waited) == 1 and hung.waited[0] > 0.2


def test_epochs_that_end_in_time_and_waits_between_them_are_left_alone(limits: pytest.MonkeyPatch) -> None:
    """Each step starts the time anew, and outside the steps a database may take as long as it likes."""
    limits.setattr(module, "LEAST", 5.0)
    limits.setattr(module, "FIRST", 5.0)
    hung = Hung()
    with Watchdog(hung) as dog:
        for _ in range(4):
            with dog.watch():
                time.sleep(0.02)
            dog.epoch_ended(0.02)
        limits.setattr(module, "LEAST", 0.1)
        time.sleep(0.6)
    assert hung.waited == []


def test_after_a_signal_a_step_has_less_time(limits: pytest.MonkeyPatch) -> None:
    """Whoever asked for the end does not wait for the hour that a first epoch may take."""
    limits.setattr(module, "FIRST", 3600.0)
    hung, asked = Hung(), threading.Event()
    with Watchdog(hung, asked.is_set) as dog, dog.watch():
        time.sleep(0.6)
        assert hung.waited == []
        asked.set()
        assert hung.called.wait(300)


def test_the_limit_follows_the_slowest_epoch() -> None:
    """Ten times the slowest so far, ten minutes at least; an hour for the first epoch, which prepares everything. After
    a signal: twice the slowest, a minute at least."""
    dog = Watchdog(Hung())
    assert (dog.limit, dog.limit_stopping) == (FIRST, LEAST_STOPPING) == (3600.0, 60.0)
    dog.epoch_ended(1.0)
    assert (dog.limit, dog.limit_stopping) == (LEAST, LEAST_STOPPING) == (600.0, 60.0)
    dog.epoch_ended(120.0)
    dog.epoch_ended(30.0)
    assert (dog.limit, dog.limit_stopping) == (FACTOR * 120.0, 240.0)


def test_a_process_that_was_stopped_does_not_hang(limits: pytest.MonkeyPatch) -> None:
    """After SIGSTOP or a suspended laptop the clock has jumped; that time does not count."""
    limits.setattr(module, "FIRST", 5.0)
    hung, ahead, real = Hung(), [0.0], time.monotonic
    limits.setattr(module.time, "monotonic", lambda: real() + ahead[0])
    with Watchdog(hung) as dog, dog.watch():
        time.sleep(0.1)
        ahead[0] = 3600.0
        time.sleep(0.3)
    assert hung.waited == []


def test_after_the_block_nothing_is_called(limits: pytest.MonkeyPatch) -> None:
    """A run that has ended cannot hang."""
    hung = Hung()
    with Watchdog(hung) as dog, dog.watch():
        pass
    time.sleep(0.4)
    assert hung.waited == []


def prepare(monkeypatch: pytest.MonkeyPatch, folder: Path, limit: float) -> str:
    """The first attempts at three trials will hang in their second epoch; returns the URL of the study."""
    for name, value in ((PLAN, "hangs"), (FOLDER, str(folder)), (LIMIT, str(limit)), ("PYTHONPATH", str(ROOT))):
        monkeypatch.setenv(name, value)
    url = f"sqlite:///{folder / 'study.db'}"
    create(url, small_study(trials=len(HANGS), epochs=3))
    return url


@pytest.mark.soak
def test_slots_whose_runs_hang_are_replaced(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch that sleeps for ever, a network call without an answer, a library that does not return: each is told,
    its slot goes on in a fresh process, and the trial is taken over at its last stored epoch and completes."""
    url = prepare(monkeypatch, tmp_path, limit=4.0)
    monkeypatch.setattr(supervisor, "COMMAND", faulty_slot.COMMAND)
    options = WorkOptions(device="cpu", keep_folder=tmp_path, checkpoint_every=0.0, grace=3.0)
    log = tmp_path / "supervisor.log"
    with log.open("w") as file:
        supervise(url, "small", small_data, options, [Slot("cpu", 1)] * len(HANGS), Console(file=file, width=200))
    text = log.read_text()
    assert text.count("this worker gives the trial up and ends") == len(HANGS), text
    assert text.count("needs a fresh process: starting again") == len(HANGS)
    records = [read_trial("small", trial) for trial in trials(url)]
    assert [(record.state, record.attempt) for record in records] == [("complete", 2)] * len(HANGS), text
    assert text.count("resumes at epoch 1") == len(HANGS)
    assert_sound(url)


@pytest.mark.parametrize("kind", [*(pytest.param(kind, marks=pytest.mark.soak) for kind in HANGS[:-1]), HANGS[-1]])
def test_one_sigterm_ends_a_worker_that_hangs(
    kind: str, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the hang would be noticed: the trial is handed back, no attempt is counted, exit 0."""
    url = prepare(monkeypatch, tmp_path, limit=600.0)
    for number in range(HANGS.index(kind)):  # the trials before it do not hang
        (tmp_path / f"{number}.hung").touch()
    arguments = ["work", "small", "--storage", url, "--data", str(small_data), "--checkpoint-every", "0"]
    code = (
        f"from tests.search.work.faulty_slot import install; install(); from search.cli import main; main({arguments})"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        while not (tmp_path / f"{HANGS.index(kind)}.hung").exists():
            assert worker.poll() is None, worker.communicate()
            time.sleep(0.05)
        os.kill(worker.pid, signal.SIGTERM)
        _, told = worker.communicate(timeout=400)
    finally:
        worker.kill()
    assert worker.returncode == 0, told
    assert "hands it back at its last stored epoch and ends" in told
    trial = trials(url)[HANGS.index(kind)]
    assert trial.state == TrialState.WAITING and LOSSES not in trial.system_attrs
    stored = read_trial("small", trial).stored_state
    assert stored is not None and stored.epoch == 1
