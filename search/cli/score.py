"""`lobtuna score`: score submissions as the challenge would, and compare several to choose one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.common import JsonOption, PluginOption, print_json, progress_bar, stderr, stdout
from search.cli.help import Command, examples

if TYPE_CHECKING:
    from lobmodels.bootstrap import Comparison
    from lobmodels.scoring.submission import Score

EPILOG = examples(
    "lobtuna score submission.zip --data ~/lob/valid.parquet",
    "# Is the new one better than the one that was sent?",
    "lobtuna score new.zip old.zip --champion old.zip --data ~/lob/valid.parquet --bootstrap 200",
)
NAMES = {
    "all": "all",
    "select": "selection (seen by the search)",
    "report": "report (never seen by it)",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("score", cls=Command, epilog=EPILOG)(score)


def score(
    submissions: Annotated[list[Path], typer.Argument(metavar="ZIP..", help="One submission, or several to compare.")],
    data: Annotated[
        Path,
        typer.Option("--data", envvar="LOBTUNA_DATA", metavar="FILE", help="valid.parquet, or the folder it is in."),
    ],
    sequences: Annotated[
        int | None, typer.Option("--sequences", min=1, metavar="N", help="Only the first so many.", show_default="all")
    ] = None,
    bootstrap: Annotated[
        int | None,
        typer.Option(
            "--bootstrap",
            min=0,
            metavar="N",
            help="Resamples of the sequences, the same for all.",
            show_default="200 for several",
        ),
    ] = None,
    champion: Annotated[
        Path | None,
        typer.Option(
            "--champion",
            metavar="FILE",
            help="What the others are compared with: a ZIP, or a saved score.",
            show_default="the first",
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on", metavar="report|all|select", help="Sequences of the comparison.", show_default="report where known"
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of the resamples.")] = 0,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Also write the comparison as CSV.")] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Keep the score of one ZIP, as a later --champion.")
    ] = None,
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """Run submissions as the challenge would: own process, one thread, row by row, every rule checked.

    Prints both correlations, their mean, the time of a step, and what 1,500 sequences and the zip weigh against the
    limits. Where the submission's validation split is known, selection and report sequences are scored apart.

    Several are compared over resampled sequences: p10, spread, difference to the champion, and how likely each beats
    it. The safe choice has the best p10, the bold one the best p90.
    """
    from lobmodels.scoring.scoreboard import ON
    from search.ship.score import score as run
    from search.study.plugins import load_plugins

    if on is not None and on not in ON:
        raise typer.BadParameter(f"--on {on}: choose from {', '.join(ON)}")
    if plugin:
        load_plugins(plugin)
    found = run(
        submissions,
        data,
        sequences=sequences,
        bootstrap=bootstrap,
        champion=champion,
        on=on,
        seed=seed,
        csv=csv,
        save=save,
        progress=lambda path: progress_bar(f"scoring {path.name}"),
    )
    if json:
        print_json(found.document())
    else:
        for result in found.scores:
            _print(result)
        if found.comparison is not None:
            _print_comparison(found.comparison, found.on, found.known)
    for result in found.scores:
        for problem in result.problems():
            stderr.print(f"[red]problem[/] {result.path}: {problem}", soft_wrap=True)


def _print(score: Score) -> None:
    from rich.table import Table

    from lobmodels.metric import metric_of

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("sequences", "", *score.schema.targets, "mean"):
        table.add_column(column, justify="left" if column == "sequences" else "right", no_wrap=True)
    for part in score.parts.values():
        values = [f"{value:.4f}" for value in (*part.scores.values(), part.mean)]
        table.add_row(NAMES[part.name], str(part.sequences), *values)
    title = metric_of(score.schema).title.removesuffix(" correlation")
    stdout.print(f"{score.path}: {title}", markup=False, soft_wrap=True)
    stdout.print(table)
    backend = f" ({score.backend})" if score.backend else ""
    stdout.print(
        f"{score.us_per_step:.1f} us a step{backend}, median {score.us_per_step_median:.1f}; start-up "
        f"{score.startup_seconds:.1f} s"
    )
    stdout.print(
        f"1,500 sequences: {score.seconds_for_1500:,.0f} s of 4,200; zip: {score.megabytes:.2f} MB of 20",
        soft_wrap=True,
    )


def _print_comparison(comparison: Comparison, on: str, known: bool) -> None:
    from rich.table import Table

    from lobmodels.bootstrap import FEW

    stdout.print(
        f"{comparison.repetitions} resamples of {comparison.sequences} sequences: {NAMES[on]}",
        markup=False,
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("submission", "mean", "p10", "spread", "difference", "90 %", "P(better)"):
        table.add_column(column, justify="left" if column == "submission" else "right", no_wrap=column != "submission")
    for row in comparison.rows:
        beside = ["champion", "", ""]
        if row.difference is not None:
            beside = [f"{row.difference:+.4f}", f"{row.low:+.4f}..{row.high:+.4f}", f"{row.p_better:.2f}"]
        table.add_row(row.name, f"{row.mean:.4f}", f"{row.p10:.4f}", f"{row.spread:.4f}", *beside)
    stdout.print(table)
    if comparison.sequences < FEW:
        stdout.print(f"{comparison.sequences} sequences are too few to tell submissions apart", markup=False)
    if on != "report" and known:
        stdout.print(
            "some of these sequences chose runs or fitted weights, which look better on them than they are",
            markup=False,
            soft_wrap=True,
        )
    if len(comparison.rows) > 1 and comparison.sequences >= FEW:
        stdout.print(f"safe: {comparison.safe.name}   bold: {comparison.bold.name}", markup=False, soft_wrap=True)
