"""Runs several slots on one machine: one process each, restarted when it crashes, all shown in one table."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from rich.console import Console

from search.errors import RunNotStoredError, SearchError
from search.study.halt import is_request
from search.work.events import Event
from search.work.exits import Exit
from search.work.options import WorkOptions, WorkSummary
from search.work.progress import Progress
from search.work.repeats import Repeats, too_many
from search.work.slot import COMMAND, SlotJob
from search.work.stopping import Stop, handling

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before a crashed slot is started again
TOLD = "lobtuna: "  # begins the line in which a slot reports an expected failure
WHY: dict[int, str] = {Exit.RESTART: "needs a fresh process", Exit.LATER: "lost the database"}  # others are crashes
HEALTHY = 60.0  # a crash after so many seconds of work counts as the first in a row

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slot:
    """Where one process works."""

    device: str
    threads: int


def plan(gpus: str | None, slots: int | None, threads: int = 1) -> list[Slot]:
    """A slot for each of `--gpus`, or the `--slots` on the CPU, with `threads` CPU threads each.

    Raises `SearchError` for GPUs that are not there.
    """
    if gpus is None:
        return [Slot("cpu", threads)] * (slots or 1)
    if slots is not None:
        raise SearchError("--slots is for the CPU: with --gpus use --runs-per-device")
    return [Slot(device, threads) for device in _gpus(gpus)]


def single(device: str | None, threads: int) -> list[Slot]:
    """One slot for a worker on a GPU; none on the CPU, where no broken device context asks for a fresh process."""
    import torch

    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return [Slot(name, threads)] if name.startswith("cuda") else []


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
    with progress.display():
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
    ready: bool = False  # whether it has ever reached the study
    began: bool = False  # whether it has ever begun a trial
    told: str = ""  # the line with which its process ended, while it is the only slot
    hopeless: str = ""  # what its last trials failed for, if all of them for one reason
    failed: bool = False
    done: bool = False
    repeats: Repeats = field(default_factory=Repeats)
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
        self.unstored = 0  # slots that had a finished run which the database does not have when they were told to end

    def run(self) -> WorkSummary:
        with handling(self._on_signal):
            self._run_slots()
        if self.unstored:
            raise RunNotStoredError(self.processes[0].told or f"{self.unstored} slots ended so; see the lines above")
        if all(process.failed for process in self.processes):
            raise SearchError(self.processes[0].told or "every slot failed; see the lines above")
        self.summary.stopped = self.summary.stopped or self.stop.reason or ""
        return self.summary

    def _run_slots(self) -> None:
        try:
            while not all(process.done for process in self.processes):
                self._start_due()
                for key, _ in self.selector.select(timeout=0.2):
                    key.data(key.fd)
                for process in self.processes:
                    self._reap(process)
        finally:
            self._signal_all(signal.SIGKILL)

    def _start_due(self) -> None:
        for process in self.processes:
            if process.process is None and not process.done and time.monotonic() >= process.start_at:
                if self.stop.due():
                    process.done = True
                else:
                    self._start(process)

    def _start(self, process: _Process) -> None:
        events, writer = os.pipe()
        job = SlotJob(self.url, self.study, self.data, self._options(process), writer)
        process.process = running = subprocess.Popen(
            COMMAND,
            env={**os.environ, "OMP_NUM_THREADS": str(process.slot.threads)},
            pass_fds=[writer],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which passes it on once
        )
        os.close(writer)
        process.started = time.monotonic()
        self.progress.set_state(process.number, "starting")
        assert running.stdin is not None and running.stderr is not None
        self._watch(process, events, lambda line: self._event(process, line))
        self._watch(process, os.dup(running.stderr.fileno()), lambda line: self._error(process, line))
        running.stderr.close()
        _send(running.stdin, job)

    def _options(self, process: _Process) -> WorkOptions:
        """The supervisor's own options for one slot: its device, its threads, and the time that is left."""
        deadline = self.stop.deadline
        return dataclasses.replace(
            self.options,
            device=process.slot.device,
            threads=process.slot.threads,
            time_limit=None if deadline is None else max(1.0, deadline - time.monotonic()),
            follow_parent=True,
            wrote=process.began,
        )

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
        if event.kind == "ready":
            process.ready = True
        process.began |= event.kind in ("start", "resume")
        if event.kind == "end":
            self.summary.count(event.state)
            process.hopeless = event.text if process.repeats.add(event.state, event.text) else ""
        if event.kind == "stop":
            self.summary.stopped = event.text
            if is_request(event.text):  # it is for all slots, also one that is about to be started again
                self.stop.ask(event.text)
        self.progress.handle(event, process.number)

    def _error(self, process: _Process, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text.startswith(TOLD):
            self._told(process, text)
        elif text:
            self._print(process, text)

    def _told(self, process: _Process, text: str) -> None:
        """Print the last line of a slot. That of an only slot is kept: it becomes the supervisor's own error."""
        if len(self.processes) > 1:
            self._print(process, text)
        else:
            process.told = text.removeprefix(TOLD)

    def _print(self, process: _Process, text: str) -> None:
        self.progress.print(f"[{process.number}] {text}" if len(self.processes) > 1 else text)

    def _reap(self, process: _Process) -> None:
        """If the slot's process has ended, decide whether to start another."""
        running = process.process
        if running is None or running.poll() is None or process.buffers:
            return
        process.process = None
        if running.returncode == Exit.DONE or self.stop.reason is not None:
            process.done = True
            self.unstored += running.returncode == Exit.LATER and process.ready
        elif running.returncode == Exit.EXPECTED or (running.returncode == Exit.LATER and not process.ready):
            self._give_up(process)  # another process would fail as well; a database never reached is a wrong URL
        elif process.hopeless:  # fresh processes cannot see that all trials fail for one reason
            self._told(process, TOLD + too_many(process.hopeless))
            self._give_up(process)
        else:
            self._start_again(process, running.returncode)

    def _give_up(self, process: _Process) -> None:
        process.done = process.failed = True
        self.progress.set_state(process.number, "failed")

    def _start_again(self, process: _Process, code: int) -> None:
        """Plan the next start, after a pause that grows with each crash in a row that came soon after a start."""
        process.crashes = 1 if time.monotonic() - process.started > HEALTHY else process.crashes + 1
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
        what = WHY.get(code, f"crashed ({how})")
        pause = pause_after(process.crashes)
        process.start_at = time.monotonic() + pause
        if process.told:
            self._print(process, process.told)
        process.told = ""
        self._print(process, f"{what}: starting again in {pause:.0f} s")
        self.progress.set_state(process.number, "crashed")

    def _on_signal(self, number: int) -> None:
        self.signals += 1
        self.stop.ask(signal.Signals(number).name)
        self._signal_all(signal.SIGTERM)  # a second one ends a worker at once
        if self.signals > 1:
            os._exit(128 + number)

    def _signal_all(self, number: int) -> None:
        for process in self.processes:
            if process.process is not None and process.process.poll() is None:
                process.process.send_signal(number)


def pause_after(crashes: int) -> float:
    """Seconds before the next start, after so many crashes in a row."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(crashes - 1, 32))


def _send(stdin: IO[bytes], job: SlotJob) -> None:
    """Write the job to a slot's stdin. A slot that died before it read the job is noticed when it is reaped."""
    try:
        stdin.write(json.dumps(job.to_json()).encode())
        stdin.close()
    except BrokenPipeError:
        log.debug("a slot ended before it read its job")
