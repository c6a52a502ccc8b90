"""Several slots on one machine: a process each, started again when it crashes, shown in one table."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from search.errors import SearchError
from search.work.events import Event
from search.work.progress import Progress
from search.work.stopping import Stop
from search.work.worker import WorkOptions, WorkSummary

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before a crashed slot is started again
HEALTHY = 60.0  # seconds after which a crash counts as the first
MOST_CRASHES = 5  # in a row, until a slot is given up
COMMAND = (sys.executable, "-c", "from search.cli import main; main()")


@dataclass(frozen=True)
class Slot:
    """Where one process works. Slots of the same `device` share it."""

    device: str
    threads: int
    shared: str = ""


def plan(gpus: str | None, trials_per_gpu: int, slots: int | None, threads: int = 1) -> list[Slot]:
    """The slots of `--gpus` and `--trials-per-gpu`, or of `--slots` on the CPU, with `threads` CPU threads each.

    Raises `SearchError` for GPUs that are not there.
    """
    if gpus is None:
        devices, shared = ["cpu"] * (slots or 1), [""] * (slots or 1)
    else:
        if slots is not None:
            raise SearchError("--slots is for the CPU: with --gpus use --trials-per-gpu")
        devices = [name for name in _gpus(gpus) for _ in range(trials_per_gpu)]
        shared = [name.replace(":", "") if trials_per_gpu > 1 else "" for name in devices]
    return [Slot(device, threads, name) for device, name in zip(devices, shared, strict=True)]


def _gpus(wanted: str) -> list[str]:
    import torch

    there = torch.cuda.device_count()
    if not there:
        raise SearchError(f"--gpus {wanted}: there is no GPU here that torch can use; use --slots N for the CPU")
    if wanted == "all":
        return [f"cuda:{i}" for i in range(there)]
    try:
        numbers = [int(part) for part in wanted.split(",")]
    except ValueError:
        raise SearchError(f"--gpus {wanted!r} is neither all nor numbers like 0,1") from None
    absent = [number for number in numbers if not 0 <= number < there]
    if absent:
        raise SearchError(f"--gpus {wanted}: there is no GPU {absent[0]}, only 0 to {there - 1}")
    return [f"cuda:{number}" for number in numbers]


def supervise(
    url: str, study: str, data: Path, options: WorkOptions, slots: list[Slot], console: Console
) -> WorkSummary:
    """Run one worker a slot until all of them are done. Raises `SearchError` if every one of them failed."""
    stop = Stop(options.time_limit)
    progress = Progress(console, len(slots))
    with progress.shown():
        return _Supervisor(url, study, data, options, slots, progress, stop).run()


@dataclass
class _Process:
    """A slot's process as the supervisor knows it."""

    number: int
    slot: Slot
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    crashes: int = 0
    start_at: float = 0.0  # time.monotonic()
    failed: bool = False
    done: bool = False
    buffers: dict[int, bytes] = field(default_factory=dict)


class _Supervisor:
    def __init__(
        self,
        url: str,
        study: str,
        data: Path,
        options: WorkOptions,
        slots: list[Slot],
        progress: Progress,
        stop: Stop,
    ) -> None:
        self.url, self.study, self.data, self.options = url, study, data, options
        self.progress, self.stop = progress, stop
        self.processes = [_Process(number, slot) for number, slot in enumerate(slots)]
        self.selector = selectors.DefaultSelector()
        self.summary = WorkSummary()
        self.signals = 0

    def run(self) -> WorkSummary:
        before = {n: signal.signal(n, self._on_signal) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            while not all(process.done for process in self.processes):
                self._start_due()
                for key, _ in self.selector.select(timeout=0.2):
                    key.data(key.fd)
                for process in self.processes:
                    self._reap(process)
        finally:
            self._signal_all(signal.SIGKILL)
            for number, handler in before.items():
                signal.signal(number, handler)
        if all(process.failed for process in self.processes):
            raise SearchError("every slot failed; the lines above say why")
        self.summary.stopped = self.summary.stopped or self.stop.reason or ""
        return self.summary

    def _start_due(self) -> None:
        for process in self.processes:
            if process.process is None and not process.done and time.monotonic() >= process.start_at:
                if self.stop.due():
                    process.done = True
                else:
                    self._start(process)

    def _start(self, process: _Process) -> None:
        events, writer = os.pipe()
        environment = {
            **os.environ,
            "LOBTUNA_STORAGE": self.url,  # not an argument: everyone can read those
            "LOBTUNA_SLOT": f"{writer}:{process.slot.shared}",
            "OMP_NUM_THREADS": str(process.slot.threads),
        }
        process.process = subprocess.Popen(
            [*COMMAND, "work", self.study, "--data", str(self.data), *self._arguments(process.slot)],
            env=environment,
            pass_fds=[writer],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which passes it on once
        )
        os.close(writer)
        process.started = time.monotonic()
        self.progress.state(process.number, "starting")
        assert process.process.stderr is not None
        self._watch(process, events, lambda line: self._event(process, line))
        self._watch(process, os.dup(process.process.stderr.fileno()), lambda line: self._error(process, line))
        process.process.stderr.close()

    def _arguments(self, slot: Slot) -> list[str]:
        options = self.options
        values: dict[str, Any] = {
            "--device": slot.device,
            "--threads": slot.threads,
            "--grace": options.grace,
            "--checkpoint-every": options.checkpoint_every,
            "--patience": options.patience,
            "--keep": options.keep_folder,
            "--trials": options.trials,
        }
        if self.stop.deadline is not None:
            values["--time-limit"] = max(1.0, self.stop.deadline - time.monotonic())
        given = [part for name, value in values.items() if value is not None for part in (name, str(value))]
        return [*given, "--wait"] if options.wait else given

    def _watch(self, process: _Process, descriptor: int, take: Callable[[bytes], None]) -> None:
        """Read lines from a pipe until its other end is closed."""
        process.buffers[descriptor] = b""

        def read(fd: int) -> None:
            received = os.read(fd, 65536)
            *lines, process.buffers[fd] = (process.buffers[fd] + received).split(b"\n")
            for line in lines:
                take(line)
            if not received:
                self.selector.unregister(fd)
                del process.buffers[fd]
                os.close(fd)

        self.selector.register(descriptor, selectors.EVENT_READ, read)

    def _event(self, process: _Process, line: bytes) -> None:
        event = Event.from_line(line)
        if event.kind == "end":
            self.summary.outcomes[event.state] = self.summary.outcomes.get(event.state, 0) + 1
        if event.kind == "stop":
            self.summary.stopped = event.text
        self.progress.tell(event, process.number)

    def _error(self, process: _Process, line: bytes) -> None:
        if line.strip():
            self.progress.say(f"[{process.number}] {line.decode(errors='replace').rstrip()}")

    def _reap(self, process: _Process) -> None:
        """Look whether the slot's process has ended, and decide whether another follows."""
        running = process.process
        if running is None or running.poll() is None or process.buffers:
            return
        process.process = None
        if running.returncode == 0 or self.stop.reason is not None:
            process.done = True
            return
        if running.returncode in (1, 2):  # told in one line: the next process would say the same
            process.done = process.failed = True
            self.progress.state(process.number, "failed")
            return
        self._crashed(process, running.returncode)

    def _crashed(self, process: _Process, code: int) -> None:
        process.crashes = 1 if time.monotonic() - process.started > HEALTHY else process.crashes + 1
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
        if process.crashes > MOST_CRASHES:
            process.done = process.failed = True
            self.progress.say(f"[{process.number}] crashed {process.crashes} times in a row ({how}): given up")
            self.progress.state(process.number, "given up")
            return
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (process.crashes - 1))
        process.start_at = time.monotonic() + pause
        self.progress.say(f"[{process.number}] crashed ({how}): starting again in {pause:.0f} s")
        self.progress.state(process.number, "crashed")

    def _on_signal(self, number: int, _: object) -> None:
        self.signals += 1
        self.stop.ask(signal.Signals(number).name)
        self._signal_all(signal.SIGTERM)  # a second one ends a worker at once
        if self.signals > 1:
            os._exit(128 + number)

    def _signal_all(self, number: int) -> None:
        for process in self.processes:
            if process.process is not None and process.process.poll() is None:
                process.process.send_signal(number)
