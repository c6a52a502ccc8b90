"""`lobtuna status`: the state of a study."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.common import DEFAULT_STORAGE, JsonOption, StorageOption, StudyArgument, print_json, stdout

if TYPE_CHECKING:
    from rich.console import Group

    from search.study.status import BudgetUse, Status


SHOWN = 3  # failed trials on the screen, the newest


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status", epilog="Example:  lobtuna status joint --watch")(status)


def status(
    name: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    watch: Annotated[bool, typer.Option("--watch", help="Look again until the study is over, or Ctrl-C.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.2, metavar="SECONDS", help="Pause between two looks.")] = 5.0,
    json: JsonOption = False,
) -> None:
    """Trials by state, running workers, the best run, and what is left of the budget."""
    from search.study.open import open_study
    from search.study.status import status_of

    if watch and json:
        raise typer.BadParameter("--watch draws on the screen; for scripts call --json again and again")
    study = open_study(storage, name)
    if json:
        print_json(status_of(study).to_json())
        return
    if not watch:
        stdout.print(render(status_of(study)))
        return
    _watch(lambda: status_of(study), every)


def _watch(look: Callable[[], Status], every: float) -> None:
    """Redraw until the study is over. In a pipe, which cannot be redrawn, print each change as a line."""
    from rich.live import Live

    try:
        if not stdout.is_terminal:
            _follow(look, every)
            return
        with Live(render(look()), console=stdout, auto_refresh=False) as live:
            while True:
                now = look()
                live.update(render(now), refresh=True)
                if now.over:
                    return
                time.sleep(every)
    except KeyboardInterrupt:
        return


def _follow(look: Callable[[], Status], every: float) -> None:
    said = ""
    while True:
        now = look()
        line = f"{_counts(now.trials)}; best {'-' if now.best is None else f'{now.best.value:.4f}'}"
        if not now.over and not any(worker.silent is not True for worker in now.workers):
            line += "; no worker is running"
        if line != said:
            stdout.print(line, markup=False, soft_wrap=True)
            said = line
        if now.over:
            return
        time.sleep(every)


def render(now: Status) -> Group:
    """The status as a screen."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    lines = [Text(f"{now.study}: {now.question}" if now.question else now.study, style="bold")]
    lines.append(Text(f"trials     {_counts(now.trials)}"))
    if now.replicates is not None:
        lines.append(Text(f"replicates {_counts(now.replicates)}"))
    lines.append(Text(f"budget     {_budget(now.budget)}"))
    lines.append(Text(f"best       {_best(now)}"))
    if now.plan is not None:
        lines.append(Text(f"plan       {now.plan}"))
    if now.standstill is not None:
        lines.append(Text(f"stalled    {now.standstill}"))
    lines += [Text(f"failed     trial {number}: {reason}") for number, _, reason in now.failures[:SHOWN]]
    if len(now.failures) > SHOWN:
        lines.append(Text(f"           and {len(now.failures) - SHOWN} more: --json lists every reason"))
    if not now.workers:
        return Group(*lines, Text("workers    none"))
    alive = sum(worker.silent is not True for worker in now.workers)
    lines.append(Text(f"workers    {alive} running" + (f", {n} silent" if (n := len(now.workers) - alive) else "")))
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for column, side in (("trial", "right"), ("epoch", "right"), ("best", "right"), ("worker", "left")):
        table.add_column(column, justify=side, no_wrap=True)  # type: ignore[arg-type]
    for worker in now.workers:
        trial = str(worker.trial) if worker.study == now.study else f"{worker.study}#{worker.trial}"
        score = "-" if worker.score is None else f"{worker.score:.4f}"
        state = f"{worker.worker} ({worker.device}){', silent' if worker.silent else ''}"
        table.add_row(trial, "-" if worker.epoch is None else str(worker.epoch + 1), score, Text(state))
    return Group(*lines, table)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {state}" for state, number in counts.items())


def _budget(use: BudgetUse) -> str:
    parts = [f"{use.trials} trials begun" if use.trials_limit is None else f"{use.trials} of {use.trials_limit} trials"]
    limit = "" if use.hours_limit is None else f" of {use.hours_limit:g}"
    parts.append(f"{use.hours:.2f}{limit} hours")
    if use.until is not None:
        parts.append(f"until {use.until:%Y-%m-%d %H:%M} UTC")
    return ", ".join(parts) + ("; spent" if use.spent else "")


def _best(now: Status) -> str:
    from search.studyfile.values import show

    if now.best is None:
        return "none: no trial is complete yet"
    best = now.best
    head = f"trial {best.number}, {best.value:.4f} on the selection sequences, seed {best.seed}"
    if best.report:
        head += f"; {best.report['mean']:.4f} on the report sequences"
    names = ("architecture", "hidden_size", "num_layers", "loss", "lr")
    return f"{head}\n           " + " ".join(f"{name}={show(best.configuration[name])}" for name in names)
