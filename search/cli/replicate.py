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

if TYPE_CHECKING:
    import optuna

    from search.study.replication import Plan, Queued
    from search.studyfile.spec import StudySpec


<<<<<<< HEAD
USUAL = 5  # configurations that are repeated by default
USUAL_SEEDS = 5  # runs of each with the fixed split


=======
>>>>>>> main
def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replicate", epilog="Example:  lobtuna replicate joint --top 5 --seeds 5")(replicate)


def replicate(
    name: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    top: Annotated[
        int | None,
        typer.Option(
            "--top", min=1, help="How many of the best configurations to repeat.", show_default="5, or all there are"
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            min=1,
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
            "--runs", min=1, help="Replicates that --auto may make in all.", show_default="twice --top and --seeds"
        ),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Queue again what failed before.")] = False,
    json: JsonOption = False,
) -> None:
    """Queue replicates of the best configurations; running workers take them before anything else.

    All configurations get the same seeds and folds. What was queued before is not queued again.
    """
<<<<<<< HEAD
    from search.errors import SearchError
    from search.study.open import SEEDS, open_study, spec_of
    from search.study.replication import Plan, choose, store_plan
    from search.study.replication import replicate as queue

    if runs is not None and not auto:
        raise SearchError("--runs is the budget of --auto: add --auto, or choose --top and --seeds")
    study = open_study(storage, name.removesuffix(SEEDS))
    chosen = choose(study, top, trial or ()) if top is not None or trial else choose(study, None)[:USUAL]
    several = _folds(folds, spec_of(study))
    seeds = seeds or (USUAL_SEEDS if several == 1 else 1)
    asked = len(chosen) * (seeds * several - 1)
    if runs is not None and runs < asked:
        raise SearchError(f"--runs {runs} is less than the {asked} replicates of --top and --seeds alone: raise it")
    result = queue(study, chosen, seeds, several, retry=retry)
    plan = Plan(tuple(run.key for run in chosen), runs or 2 * asked) if auto else None
    if plan is not None:
        store_plan(study, plan)
=======
    from search.study.named import replicate as queue
    from search.study.open import SEEDS

    done = queue(storage, name, top=top, seeds=seeds, trials=trial or (), auto=auto, runs=runs, retry=retry)
    study, result, plan = done.study, done.queued, done.plan
>>>>>>> main
    if json:
        counts = {"queued": result.queued, "present": result.present, "failed": result.failed}
        trials = [run.number for run in result.chosen]
        print_json({"study": study.study_name + SEEDS, "trials": trials, **counts, "auto_runs": plan and plan.runs})
    else:
        _print(study, result, (seeds, several), plan, storage)


def _folds(asked: str | None, spec: StudySpec) -> int:
    """How many folds are asked for; all of the study's where nothing was."""
    from search.errors import SearchError
    from search.study.orders import NO_FOLDS

    if asked == "all" and spec.validation.count is None:
        raise SearchError(NO_FOLDS.format(name=spec.name))
    if asked is None or asked == "all":
        return spec.validation.count or 1
    if not asked.isdigit() or int(asked) < 1:
        raise SearchError(f"--folds {asked!r}: give a number of folds, or all")
    return int(asked)


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
    stdout.print("  (their scores are the search's own, on the selection sequences)", markup=False)
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
