"""`lobtuna refit`: train the best configurations on all sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.common import (
    DEFAULT_STORAGE,
    JsonOption,
    StorageOption,
    StudyArgument,
    print_json,
    stderr,
    stdout,
    storage_flag,
)
from search.cli.help import Command

if TYPE_CHECKING:
    from search.study.refit import Ordered

GIVEN_UP = (
    "these runs train on the report sequences as well: nothing is left that could say how good they or their ensemble "
    "are, or notice a mistake; the report score of the study's other runs is the last honest one"
)

EPILOG = "lobtuna refit joint --top 5 --seeds 4"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("refit", cls=Command, epilog=EPILOG)(refit)


def refit(
    name: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            min=1,
            metavar="N",
            help="So many configurations, as `rank` orders them.",
            show_default="5, or all there are",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, metavar="N", help="Runs of each.")] = 4,
    trial: Annotated[
        list[int] | None,
        typer.Option("--trial", metavar="N", help="Refit this trial's configuration instead; may be given often."),
    ] = None,
    with_report: Annotated[
        bool,
        typer.Option(
            "--with-report", help="Train on the report sequences too: nothing is left to judge the result by."
        ),
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Queue again what failed before.")] = False,
    json: JsonOption = False,
) -> None:
    """Queue runs of the best configurations on all sequences but report; workers take them before anything else.

    Each is trained for as many steps as its configuration's earlier runs took to their best epoch, in the median. Such
    runs are not validated themselves: `lobtuna export --refit` ships them.
    """
    from search.study.named import refit as order
    from search.study.open import SEEDS

    done = order(storage, name, top=top, seeds=seeds, trials=trial or (), with_report=with_report, retry=retry)
    study, result = done.study, done.ordered
    if json:
        counts = {"queued": result.queued, "present": result.present, "failed": result.failed}
        trials = [row.trial for row in result.chosen]
        print_json({"study": study.study_name + SEEDS, "trials": trials, **counts, "with_report": with_report})
    else:
        _print(study.study_name, result, seeds, storage, with_report)
    if with_report:
        stderr.print(GIVEN_UP, markup=False, soft_wrap=True)


def _print(name: str, result: Ordered, seeds: int, storage: str, with_report: bool) -> None:
    queued = "1 refit" if result.queued == 1 else f"{result.queued} refits"
    stdout.print(f"{name}.seeds: {queued} queued, {result.present} there already", markup=False)
    if result.failed:
        stdout.print(f"  {result.failed} failed before: --retry queues them again", markup=False)
    for row, order in zip(result.chosen, result.orders, strict=True):
        runs = "its one run" if len(order.runs) == 1 else f"its {len(order.runs)} runs, in the median"
        line = f"  trial {row.trial}: {seeds} seeds, as many steps as {order.epochs:g} epochs of {runs}"
        stdout.print(line, markup=False, soft_wrap=True)
    flag = storage_flag(storage)
    stdout.print("next: running workers take these first; without one:", markup=False)
    export = f"export {name}{flag} --refit{' --with-report' if with_report else ''}"
    for command in (f"work {name}{flag} --data DIR", export):
        stdout.print(f"  lobtuna {command}", markup=False, soft_wrap=True)
