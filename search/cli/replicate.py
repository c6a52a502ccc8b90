"""`lobtuna replicate`: repeat the best configurations under more seeds and on other folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
from search.cli.help import Command, examples

if TYPE_CHECKING:
    import optuna

    from search.study.replication import Plan, Queued

EPILOG = examples(
    "lobtuna replicate joint --top 5 --seeds 5",
    "# On all folds of a study that has some",
    "lobtuna replicate joint --top 8 --folds all",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replicate", cls=Command, epilog=EPILOG)(replicate)


def replicate(
    name: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            min=1,
            metavar="N",
            help="How many of the best configurations to repeat.",
            show_default="5, or all there are",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            min=1,
            metavar="N",
            help="Runs of each on each fold; the search's own run is the first of them.",
            show_default="5, or 1 with folds",
        ),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            "--folds", metavar="all|K", help="On all of the study's folds, or the first K.", show_default="all"
        ),
    ] = None,
    trial: Annotated[
        list[int] | None,
        typer.Option("--trial", metavar="N", help="Repeat this trial instead of the best ones; may be given often."),
    ] = None,
    auto: Annotated[
        bool,
        typer.Option(
            "--auto", help="Then go on by successive elimination: one more seed for all that could still be the best."
        ),
    ] = False,
    runs: Annotated[
        int | None,
        typer.Option(
            "--runs",
            min=1,
            metavar="N",
            help="Replicates that --auto may make in all.",
            show_default="twice --top and --seeds",
        ),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Queue again what failed before.")] = False,
    json: JsonOption = False,
) -> None:
    """Queue replicates of the best configurations; running workers take them before anything else.

    All configurations get the same seeds and folds. What was queued before is not queued again.
    """
    from search.study.named import replicate as queue
    from search.study.open import SEEDS

    done = queue(
        storage, name, top=top, seeds=seeds, folds=folds, trials=trial or (), auto=auto, runs=runs, retry=retry
    )
    study, result, plan = done.study, done.queued, done.plan
    if json:
        counts = {"queued": result.queued, "present": result.present, "failed": result.failed}
        trials = [run.number for run in result.chosen]
        print_json({"study": study.study_name + SEEDS, "trials": trials, **counts, "auto_runs": plan and plan.runs})
    else:
        _print(study, result, (done.seeds, done.folds), plan, storage)


def _print(study: optuna.Study, result: Queued, grid: tuple[int, int], plan: Plan | None, storage: str) -> None:
    from search.study.open import spec_of
    from search.study.orders import cells

    listed = cells(spec_of(study), *grid)
    used = sorted({seed for seed, _ in listed})
    name = study.study_name
    queued = "1 run" if result.queued == 1 else f"{result.queued} runs"
    stdout.print(f"{name}.seeds: {queued} queued, {result.present} there already", markup=False)
    if result.failed:
        stdout.print(f"  {result.failed} failed before: --retry queues them again", markup=False)
    best = ", ".join(f"{run.number} ({run.value:.4f})" for run in result.chosen[:8])
    stdout.print(f"  configurations of trials {best}{', ...' if len(result.chosen) > 8 else ''}", markup=False)
    values = [run.value for run in result.chosen]
    order = "" if values == sorted(values, reverse=True) else "; chosen by scores smoothed over the space"
    stdout.print(f"  (their scores are the search's own, on the selection sequences{order})", markup=False)
    on = f", on {grid[1]} folds" if grid[1] > 1 else ""
    stdout.print(
        f"  each under its own seed and {used[0]}{f' to {used[-1]}' if len(used) > 1 else ''}{on}", markup=False
    )
    if plan is not None:
        stdout.print(f"  then on by elimination, up to {plan.runs} replicates", markup=False)
    flag = storage_flag(storage)
    stdout.print("next: running workers take these first; without one:", markup=False)
    for command in (f"work {name}{flag} --data DIR", f"rank {name}{flag}"):
        stdout.print(f"  lobtuna {command}", markup=False, soft_wrap=True)
