"""Shows a worker's events: one live table on a terminal, plain lines in a pipe, a log or a notebook."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.study.outlook import Outlook, duration
from search.work.events import WAITS, Event

LINE_EVERY = 5.0  # seconds between two lines about the running trial of a slot where there is no live table


@dataclass
class Row:
    """One line of the table: a slot, or one of the runs that it trains at once."""

    trial: str = ""
    epoch: str = ""
    score: str = ""
    best: str = ""
    seconds: str = ""
    state: str = "starting"


class Progress:
    """Shows the events of one or several slots on `console`, which is stderr."""

    def __init__(self, console: Console, slots: int = 1) -> None:
        self.console = console
        self.study = ""
        self.outlook: Outlook | None = None
        self.slots = slots
        self.rows = {(slot, 0): Row() for slot in range(slots)}  # by slot and lane
        self.live: Live | None = None
        self._printed: dict[int, float] = {}
        self._waiting: set[int] = set()  # slots that wait for work

    @contextmanager
    def display(self) -> Iterator[Progress]:
        """Keep the table on the terminal while the block runs, if there is a terminal."""
        if not self.console.is_terminal:
            yield self
            return
        live = Live(self.screen(), console=self.console, refresh_per_second=4, transient=True)
        with self._shown():
            live.start()
            self.live = live
        try:
            yield self
        finally:
            if self.live is not None:
                with self._shown():
                    live.stop()
            self.live = None

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """Print nothing more once the terminal was closed or the reader of the pipe has ended. The error is swallowed:
        raised here it would fail the trial. Work goes on, or is handed back if a signal asks for that."""
        try:
            yield
        except (OSError, SystemExit):  # rich turns a broken pipe into SystemExit
            self.console.quiet = True

    def handle(self, event: Event, slot: int = 0) -> None:
        """Update the table, and print what should stay in the log."""
        self._update(self.rows.setdefault((slot, event.lane), Row()), event)
        if event.kind in ("ready", "start", "resume"):
            self._waiting.discard(slot)
        line = self._line(event, slot)
        if line:
            self.print((f"[{slot}] " if self.slots > 1 else "") + line)
        self._refresh()

    def print(self, text: str) -> None:
        """Print a line."""
        with self._shown():
            self.console.print(text, markup=False, soft_wrap=True)

    def leave(self) -> None:
        """Show the cursor again, which the table has hidden: for a process that ends without leaving `display`."""
        with self._shown():
            self.console.show_cursor()

    def set_state(self, slot: int, state: str) -> None:
        """Show a state that the supervisor, not the slot, knows."""
        for number, lane in list(self.rows):
            if number == slot:
                self.rows[number, lane].state = state
        self._refresh()

    def _refresh(self) -> None:
        if self.live is not None:
            with self._shown():
                self.live.update(self.screen())

    def screen(self) -> Group:
        """What a terminal shows: where the study stands, and one line a slot."""
        if self.outlook is None:
            return Group(self.table())
        lines = [Text(f"{self.study}: {self.outlook.line()}", style="bold"), Text(f"best {self.outlook.best_line()}")]
        return Group(*lines, self.table())

    def table(self) -> Table:
        """One line a slot, or a run where a slot trains several at once."""
        table = Table(box=None, pad_edge=False)
        for name in ("slot", "trial", "epoch", "score", "best", "s/epoch", "state"):
            table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
        for (slot, lane), row in sorted(self.rows.items(), key=lambda item: item[0]):
            name = f"{slot}.{lane}" if (slot, 1) in self.rows else str(slot)
            table.add_row(name, row.trial, row.epoch, row.score, row.best, row.seconds, row.state)
        return table

    def _update(self, row: Row, event: Event) -> None:
        if event.kind in ("start", "resume"):
            epoch = "" if event.epoch is None else str(event.epoch)
            row.trial, row.epoch, row.score, row.best, row.state = str(event.trial), epoch, "", "", "training"
        elif event.kind == "epoch":
            row.trial, row.state = str(event.trial), "training"
            row.epoch = f"{(event.epoch or 0) + 1}/{event.epochs}"
            row.score = "" if event.score is None else f"{event.score:.4f}"  # a refit has none
            row.best = "" if event.best is None else f"{event.best:.4f}"
            row.seconds = f"{event.seconds:.1f}"
        elif event.kind == "end":
            row.state = event.state
        elif event.kind == "outlook" and event.outlook is not None:
            self.study, self.outlook = event.study, Outlook(**event.outlook)
        elif event.kind in ("ready", "wait", "stop"):
            row.state = {"ready": "ready", "wait": "waiting", "stop": "stopped"}[event.kind]

    def _line(self, event: Event, slot: int) -> str:
        name = event.study if event.trial is None else f"{event.study} #{event.trial}"
        if event.kind == "epoch":
            return self._epoch_line(event, slot, name)
        if event.kind == "wait":
            return self._wait_line(event, slot)
        if event.kind == "end":
            score = "" if event.score is None else f"  {event.score:.4f}"
            return f"{name}  {event.state}{score}  {event.text}".rstrip()
        texts = {
            "ready": f"{event.study}: working on {event.text}",
            "resume": f"{name}  resumes at epoch {event.epoch}",
            "recovered": f"{name}  {event.text}",
            "note": f"{name}  {event.text}",
            "stop": f"{event.study}: stopped, {event.text}",
        }
        return texts.get(event.kind, "")

    def _wait_line(self, event: Event, slot: int) -> str:
        """A line when a slot begins to wait for work, where no table shows it; none when it looks again."""
        if event.state != WAITS or slot in self._waiting or self.live is not None:
            return ""
        self._waiting.add(slot)
        return f"{event.study}: waits for work, {event.text}"

    def _epoch_line(self, event: Event, slot: int, name: str) -> str:
        """A line about a running trial and the study, once in `LINE_EVERY` seconds, where no table shows it."""
        if self.live is not None or time.monotonic() - self._printed.get(slot, 0.0) < LINE_EVERY:
            return ""
        self._printed[slot] = time.monotonic()
        where = f"epoch {(event.epoch or 0) + 1}/{event.epochs}"
        scores = "" if event.score is None else f"  {event.score:.4f}, best {event.best:.4f}"
        line = f"{name}  {where}{scores}  {event.seconds:.1f} s"
        return line if self.outlook is None else f"{line}  | {_brief(self.outlook)}"


def _brief(outlook: Outlook) -> str:
    """The outlook in part of a line: `7 of 24 trials, 3 running, 2 h 10 min left, best 0.2689 (trial 3: gru ...)`."""
    of = "" if outlook.limit is None else f" of {outlook.limit}"
    left = "" if outlook.seconds_left is None else f", {duration(outlook.seconds_left)} left"
    best = "" if outlook.best is None else f", best {outlook.best:.4f} (trial {outlook.best_trial}: {outlook.words})"
    return f"{outlook.begun}{of} trials, {outlook.running} running{left}{best}"
