"""Promises of the progress display: a table on a terminal, whole lines in a pipe, whatever the width."""

import io
from dataclasses import asdict

import pytest
from rich.console import Console

from search.study.outlook import Outlook
from search.work.events import WAITS, Event
from search.work.progress import Progress

EVENTS = [
    Event("ready", "joint", text="cpu, data 0123abcd"),
    Event("start", "joint", 7, epochs=20),
    Event("epoch", "joint", 7, epoch=0, epochs=20, score=0.25, best=0.25, seconds=1.5),
    Event("epoch", "joint", 7, epoch=1, epochs=20, score=0.26, best=0.26, seconds=1.5),
    Event("end", "joint", 7, score=0.2601, state="complete", text="early_stopping, best epoch 1"),
    Event("stop", "joint", text="200 of 200 trials are done or running"),
]


def test_a_pipe_gets_plain_lines_and_not_every_epoch() -> None:
    """No control codes, one line per thing that matters, none broken at 80 columns."""
    out = io.StringIO()
    progress = Progress(Console(file=out, width=40))
    with progress.display():
        for event in EVENTS:
            progress.handle(event)
    lines = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue()
    assert len(lines) == 4
    assert lines[0] == "joint: working on cpu, data 0123abcd"
    assert lines[2] == "joint #7  complete  0.2601  early_stopping, best epoch 1"


def test_a_terminal_gets_one_table_of_all_slots() -> None:
    """Each slot has its line with trial, epoch, score and seconds per epoch; 60 columns are enough."""
    out = io.StringIO()
    console = Console(file=out, width=60, force_terminal=True)
    progress = Progress(console, slots=2)
    with progress.display():
        for event in EVENTS[:4]:
            progress.handle(event, slot=1)
        shown = Console(width=60, file=io.StringIO())
        shown.print(progress.table())
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    assert text.splitlines()[0].split() == ["slot", "trial", "epoch", "score", "best", "s/epoch", "state"]
    assert text.splitlines()[2].split() == ["1", "7", "2/20", "0.2600", "0.2600", "1.5", "training"]
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 60


class Closed(io.StringIO):
    """A terminal or a pipe that nobody reads any more."""

    def __init__(self, error: type[OSError]) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error(5, "Input/output error")


@pytest.mark.parametrize("error", [OSError, BrokenPipeError])
@pytest.mark.parametrize("terminal", [False, True])
def test_a_closed_terminal_is_no_error_of_the_work(error: type[OSError], terminal: bool) -> None:
    """Nothing is raised into the worker, whose trial would fail of it."""
    progress = Progress(Console(file=Closed(error), width=60, force_terminal=terminal))
    with progress.display():
        for event in EVENTS:
            progress.handle(event)
        progress.set_state(0, "stopped")
        progress.leave()


OUTLOOK = Outlook(7, 24, 3, 0.2689, 3, "gru 3x64, mse, lr 0.001", 7800.0)


def test_a_terminal_shows_the_study_above_its_slots() -> None:
    """Trial 7 of 24, workers, time to the end of the budget, the best so far with its configuration: 80 columns."""
    progress = Progress(Console(file=io.StringIO(), width=80, force_terminal=True))
    progress.handle(Event("outlook", "joint", outlook=asdict(OUTLOOK)))
    shown = Console(width=80, file=io.StringIO())
    shown.print(progress.screen())
    lines = shown.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].strip() == "joint: trial 7 of 24, 3 running, about 2 h 10 min to the end of the budget"
    assert lines[1].strip() == "best 0.2689, trial 3: gru 3x64, mse, lr 0.001"
    assert lines[2].split()[0] == "slot"


def test_a_line_carries_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe an epoch's line says the same, and the next epoch within seconds has none."""
    out = io.StringIO()
    monkeypatch.setattr("search.work.progress.time.monotonic", iter([100.0, 100.0, 101.0, 106.0, 106.0]).__next__)
    progress = Progress(Console(file=out, width=40))
    events = [Event("epoch", "joint", 7, epoch=i, epochs=20, score=0.25, best=0.26, seconds=1.5) for i in range(3)]
    for event in (Event("outlook", "joint", outlook=asdict(OUTLOOK)), *events):
        progress.handle(event)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2 and lines[0] == (
        "joint #7  epoch 1/20  0.2500, best 0.2600  1.5 s  | "
        "7 of 24 trials, 3 running, 2 h 10 min left, best 0.2689 (trial 3: gru 3x64, mse, lr 0.001)"
    )
    assert "epoch 3/20" in lines[1]


def test_a_log_shows_once_that_a_slot_waits_for_work() -> None:
    """Not at each of its looks; again after it has had a trial. A worker that is about to leave says why it stopped."""
    out = io.StringIO()
    progress = Progress(Console(file=out, width=40), slots=2)
    idle, leaving = (Event("wait", "joint", text="200 of 200 trials are done", state=state) for state in (WAITS, ""))
    trial = Event("start", "joint", 200, epochs=20)
    for slot, event in ((0, leaving), (1, idle), (0, idle), (1, idle), (0, trial), (0, idle), (0, idle)):
        progress.handle(event, slot)
    line = "joint: waits for work, 200 of 200 trials are done"
    assert out.getvalue().splitlines() == [f"[{slot}] {line}" for slot in (1, 0, 0)]


def test_a_table_shows_who_waits_without_a_line() -> None:
    """The slot's state says it."""
    out = io.StringIO()
    progress = Progress(Console(file=out, width=60, force_terminal=True))
    with progress.display():
        progress.handle(Event("wait", "joint", text="200 of 200 trials are done", state=WAITS))
        assert progress.rows[0, 0].state == "waiting"
    assert "waits for work" not in out.getvalue()
