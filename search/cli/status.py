"""`lobtuna status`: the state of a study."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.cli.common import (
    DEFAULT_STORAGE,
    JsonOption,
    StorageOption,
    StudyArgument,
    print_json,
    stdout,
    storage_flag,
)
from search.cli.help import Command

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from search.report.headline import Headline
    from search.study.status import AtWork, Status


SHOWN = 3  # failed trials on the screen, the newest

EPILOG = "lobtuna status joint --watch"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status", cls=Command, epilog=EPILOG)(status)


def status(
    name: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    watch: Annotated[bool, typer.Option("--watch", help="Look again until the study is over, or Ctrl-C.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.2, metavar="SECONDS", help="Pause between two looks.")] = 5.0,
    json: JsonOption = False,
) -> None:
    """Show what is best so far and what to do now; trials by state, running workers, and what is left of the budget."""
    from search.report.headline import headline
    from search.report.record import read_study
    from search.study.open import open_study
    from search.study.status import status_of

    if watch and json:
        raise typer.BadParameter("--watch draws on the screen; for scripts call --json again and again")
    study = open_study(storage, name)
    if json:
        print_json({**status_of(study).to_json(), "headline": headline(read_study(study)).to_json()})
        return
    flag = storage_flag(storage)
    if not watch:
        stdout.print(render(status_of(study), headline(read_study(study)), flag))
        return
    known: dict[str, Any] = {}

    def screen(now: Status) -> Group:
        ended = (now.trials, now.replicates)  # only with these do the first lines change: a look costs little else
        if known.get("ended") != ended:
            known.update(ended=ended, first=headline(read_study(study)))
        return render(now, known["first"], flag)

    _watch(lambda: status_of(study), screen, every)


def _watch(look: Callable[[], Status], screen: Callable[[Status], Group], every: float) -> None:
    """Redraw until the study is over. In a pipe, which cannot be redrawn, print each change as a line."""
    from rich.live import Live

    try:
        if not stdout.is_terminal:
            _follow(look, every)
            return
        now = look()
        with Live(screen(now), console=stdout, auto_refresh=False) as live:
            while not now.over:
                time.sleep(every)
                now = look()
                live.update(screen(now), refresh=True)
    except KeyboardInterrupt:
        return


def _follow(look: Callable[[], Status], every: float) -> None:
    said = ""
    while True:
        now = look()
        line = f"{_counts(now.trials)}; best {'-' if now.best is None else f'{now.best.value:.4f}'}"
        if now.outlook.running:
            line += f"; {now.outlook.line()}"
        elif not now.over:
            line += "; no worker is running"
        if line != said:
            stdout.print(line, markup=False, soft_wrap=True)
            said = line
        if now.over:
            return
        time.sleep(every)


def render(now: Status, first: Headline, flag: str = "") -> Group:
    """The status as a screen; `flag` is the option by which a suggested command reaches the same database."""
    from rich.console import Group, RenderableType
    from rich.text import Text

    lines: list[RenderableType] = [
        Text(f"{now.study}: {now.question}" if now.question else now.study, style="bold"),
        _scores(first),
        _named("budget", first.budget + _left(now)),
        _named("now", f"{first.step.kind}: {first.step.reason}"),
        _named("", f"{first.step.command}{flag}"),
        _named("trials", _counts(now.trials)),
    ]
    if now.replicates is not None:
        lines.append(_named("replicates", _counts(now.replicates)))
    if now.plan is not None:
        lines.append(_named("plan", now.plan))
    if now.standstill is not None:
        lines.append(_named("stalled", now.standstill))
    lines += [_named("failed", f"trial {number}: {reason}") for number, _, reason in now.failures[:SHOWN]]
    if len(now.failures) > SHOWN:
        lines.append(_named("", f"and {len(now.failures) - SHOWN} more: --json lists every reason"))
    if not now.workers:
        return Group(*lines, _named("workers", "none"))
    alive = sum(worker.silent is not True for worker in now.workers)
    silent = f", {n} silent" if (n := len(now.workers) - alive) else ""
    return Group(*lines, _named("workers", f"{alive} running{silent}"), workers_table(now.study, now.workers))


def _named(label: str, text: str) -> Table:
    """A label and its text, which wraps beside it."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=10, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(label, Text(text))
    return grid


def _scores(first: Headline) -> Table:
    """The headline's rows: scores, and below them what they are of."""
    from rich.table import Table
    from rich.text import Text

    from search.report.headline import INTERVALS

    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=10, no_wrap=True)
    table.add_column(overflow="fold")
    for label, select, report, what in first.cells():
        scores = f"selection {select}, report {report}" if select != "-" else ""
        table.add_row(Text(label, style="bold"), Text(scores or what))
        if scores:
            table.add_row("", Text(what, style="dim"))
    table.add_row("", Text(INTERVALS, style="dim"))
    return table


def _left(now: Status) -> str:
    from search.study.outlook import duration

    left = now.outlook.seconds_left
    return "" if left is None or not now.outlook.running else f", about {duration(left)} left at this speed"


def workers_table(study: str, workers: Sequence[AtWork]) -> Table:
    """Running trials of `study` and its replicates, with the use of their GPUs where any is known."""
    from rich.table import Table
    from rich.text import Text

    used = any(worker.gpu_use is not None for worker in workers)
    heads = [("trial", "right"), ("epoch", "right"), ("best", "right"), *([("GPU", "right")] if used else [])]
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for column, side in (*heads, ("worker", "left")):
        table.add_column(column, justify=side, no_wrap=True)  # type: ignore[arg-type]
    for worker in workers:
        trial = str(worker.trial) if worker.study == study else f"{worker.study}#{worker.trial}"
        score = "-" if worker.score is None else f"{worker.score:.4f}"
        epoch = "-" if worker.epoch is None else str(worker.epoch + 1)
        of = "" if worker.epochs is None else f"/{worker.epochs}"
        use = [] if not used else ["-" if worker.gpu_use is None else f"{worker.gpu_use} %"]
        state = f"{worker.worker} ({worker.device}){', silent' if worker.silent else ''}"
        table.add_row(trial, epoch + of, score, *use, Text(state))
    return table


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {state}" for state, number in counts.items())
