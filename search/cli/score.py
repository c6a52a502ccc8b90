"""`lobtuna score`: what the challenge would say of a submission, and which of several to send."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.common import JsonOption, print_json, progress_bar, stderr, stdout

if TYPE_CHECKING:
    from lobmodels.scoring import Score

EPILOG = "Example:  lobtuna score submission.zip --data ~/lob/valid.parquet"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("score", epilog=EPILOG)(score)


def score(
    submission: Annotated[Path, typer.Argument(metavar="ZIP", help="The submission.")],
    data: Annotated[
        Path,
        typer.Option("--data", envvar="LOBTUNA_DATA", metavar="FILE", help="valid.parquet, or the folder it is in."),
    ],
    sequences: Annotated[
        int | None, typer.Option("--sequences", min=1, help="Only the first so many.", show_default="all")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run the submission as the challenge would: its own process, one thread, row by row, every rule checked.

    Prints both correlations, their mean, the time of a step, and what 1,500 sequences and the zip weigh against the
    limits. Where the submission's validation split is known, selection and report sequences are scored apart.
    """
    from lobmodels.data import load_sequences
    from lobmodels.scoring import score_submission

    valid = load_sequences(data / "valid.parquet" if data.is_dir() else data)
    with progress_bar(f"scoring {submission.name}") as progress:
        result = score_submission(submission, valid, sequences, progress)
    if json:
        print_json(result.document())
    else:
        _print(result)
    for problem in result.problems():
        stderr.print(f"[red]problem[/] {problem}", soft_wrap=True)


def _print(score: Score) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("sequences", "", "t0", "t1", "mean"):
        table.add_column(column, justify="left" if column == "sequences" else "right", no_wrap=True)
    for part in score.parts.values():
        table.add_row(_NAMES[part.name], str(part.sequences), f"{part.t0:.4f}", f"{part.t1:.4f}", f"{part.mean:.4f}")
    stdout.print(f"{score.path}: weighted Pearson", markup=False, soft_wrap=True)
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


_NAMES = {"all": "all", "select": "selection (seen by the search)", "report": "report (never seen by it)"}
