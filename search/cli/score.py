"""`lobtuna score`: score submissions as the challenge would, and compare several to choose one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.cli.common import JsonOption, print_json, progress_bar, stderr, stdout

if TYPE_CHECKING:
    from lobmodels.bootstrap import Comparison
    from lobmodels.data import Sequences
    from lobmodels.scoring.scoreboard import Tally
    from lobmodels.scoring.submission import Score

EPILOG = "Example:  lobtuna score new.zip old.zip --champion old.zip --data ~/lob/valid.parquet --bootstrap 200"
NAMES = {
    "all": "all",
    "select": "selection (seen by the search)",
    "report": "report (never seen by it)",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("score", epilog=EPILOG)(score)


def score(
    submissions: Annotated[list[Path], typer.Argument(metavar="ZIP..", help="One submission, or several to compare.")],
    data: Annotated[
        Path,
        typer.Option("--data", envvar="LOBTUNA_DATA", metavar="FILE", help="valid.parquet, or the folder it is in."),
    ],
    sequences: Annotated[
        int | None, typer.Option("--sequences", min=1, help="Only the first so many.", show_default="all")
    ] = None,
    bootstrap: Annotated[
        int | None,
        typer.Option(
            "--bootstrap", min=0, help="Resamples of the sequences, the same for all.", show_default="200 for several"
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
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the resamples.")] = 0,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Also write the comparison as CSV.")] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Keep the score of one ZIP, as a later --champion.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run submissions as the challenge would: own process, one thread, row by row, every rule checked.

    Prints both correlations, their mean, the time of a step, and what 1,500 sequences and the zip weigh against the
    limits. Where the submission's validation split is known, selection and report sequences are scored apart.

    Several are compared over resampled sequences: p10, spread, difference to the champion, and how likely each beats
    it. The safe choice has the best p10, the bold one the best p90.
    """
    from lobmodels.data import load_sequences
    from lobmodels.files import writable_folder
    from lobmodels.scoring.scoreboard import ON, Tally
    from search.errors import SearchError

    if on is not None and on not in ON:
        raise typer.BadParameter(f"--on {on}: choose from {', '.join(ON)}")
    if csv is not None and len(submissions) == 1 and champion is None and not bootstrap:
        raise SearchError(
            "--csv is the table of a comparison: name several submissions, a --champion or --bootstrap 200"
        )
    if save is not None and len(submissions) != 1:
        raise SearchError(f"--save keeps the score of one submission, not of {len(submissions)}")
    for file, argument in ((csv, "csv"), (save, "save")):
        if file is not None:
            writable_folder(file.parent, argument)  # refuse now, not after minutes of work
    valid = load_sequences(data / "valid.parquet" if data.is_dir() else data)
    paths, kept = _contenders(submissions, champion)
    scores = [_score(path, valid, sequences) for path in paths]
    tallies = [*(Tally.of(result) for result in scores), *kept]
    if save is not None:
        tallies[0].save(save)
    repetitions = bootstrap if bootstrap is not None else (200 if len(tallies) > 1 else 0)
    found = None
    if repetitions:
        found = _compare(tallies, kept, paths[0] if champion is None else champion, on, repetitions, seed, csv)
    if json:
        print_json(_document(scores, found))
    else:
        for result in scores:
            _print(result)
        if found is not None:
            _print_comparison(*found, known=any(tally.split for tally in tallies))
    for result in scores:
        for problem in result.problems():
            stderr.print(f"[red]problem[/] {result.path}: {problem}", soft_wrap=True)


def _contenders(submissions: list[Path], champion: Path | None) -> tuple[list[Path], list[Tally]]:
    """Zips to run, each once, and the saved champion if it is one."""
    from lobmodels.scoring.scoreboard import Tally, is_saved_score

    paths = list(dict.fromkeys(submissions))
    if champion is None or champion in paths:
        return paths, []
    if is_saved_score(champion):
        saved = Tally.load(champion)
        taken = saved.name in map(str, paths)  # a new submission often has the file name of the old one
        return paths, [replace(saved, name=str(champion)) if taken else saved]
    return [*paths, champion], []


def _score(path: Path, valid: Sequences, sequences: int | None) -> Score:
    from lobmodels.scoring.submission import score_submission

    with progress_bar(f"scoring {path.name}") as progress:
        return score_submission(path, valid, sequences, progress)


def _compare(
    tallies: list[Tally],
    kept: list[Tally],
    champion: Path,
    on: str | None,
    repetitions: int,
    seed: int,
    csv: Path | None,
) -> tuple[Comparison, str]:
    from lobmodels.files import write_atomically
    from lobmodels.scoring.scoreboard import compare_tallies, to_table

    name = kept[0].name if kept else str(champion)
    comparison, used = compare_tallies(tallies, name, on, repetitions, seed)
    if csv is not None:
        write_atomically(csv, to_table(comparison, used).to_csv(), "csv")
    return comparison, used


def _document(scores: list[Score], found: tuple[Comparison, str] | None) -> dict[str, Any]:
    """One submission's own keys at the top; several in a list."""
    from lobmodels.scoring.scoreboard import to_document

    comparison = {} if found is None else {"comparison": to_document(*found)}
    if len(scores) == 1:
        return {**scores[0].document(), **comparison}
    return {"submissions": [result.document() for result in scores], **comparison}


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
