"""`lobtuna compare`: studies side by side."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.common import (
    DEFAULT_STORAGE,
    JsonOption,
    PluginOption,
    StorageOption,
    TrustOption,
    print_json,
    progress_bar,
    stderr,
    stdout,
    unless_asked,
)
from search.cli.help import Command

if TYPE_CHECKING:
    from search.report.compare import Comparison, Entry

EPILOG = "lobtuna compare joint joint@2 --data ~/lob --out compared"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare", cls=Command, epilog=EPILOG)(compare)


def compare(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="A B [C]", help="Studies in the database; A is the reference.")],
    storage: StorageOption = DEFAULT_STORAGE,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", envvar="LOBTUNA_DATA", metavar="DIR", help="The studies' data: then ensembles are compared, too."
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Also write every measure as CSV.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Also write a page with figures.")] = None,
    plugin: PluginOption = None,
    trust_plugins: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """Compare studies: best configuration, ensemble, and what each had found after equal hours and equal epochs.

    Differences come with 90 % intervals from a paired bootstrap: the same sequences are drawn again for all.
    """
    from lobmodels.files import write_atomically
    from search.report.compare import compare as measure
    from search.report.write import write_comparison
    from search.study.open import open_study

    studies = [open_study(storage, name) for name in names]
    ensembles = {}
    if data is not None:
        from search.ship.reference import ensemble_sums
        from search.study.plugins import require_code

        for study in studies:
            name = study.study_name
            with unless_asked(context, "data"), progress_bar(f"predicting validation for {name}") as progress:
                require_code(study, plugin or (), trust_plugins)
                ensembles[name] = ensemble_sums(study, data, progress)
    found = measure(studies, {name: sums for name, sums in ensembles.items() if sums})
    if csv is not None:
        write_atomically(csv, found.table().to_csv(), argument="csv")
    if out is not None:
        stderr.print(f"{write_comparison(found, out)}", markup=False, soft_wrap=True)
    if json:
        print_json({"against": found.first, "on": found.on, "entries": found.table().records()})
    else:
        _print(found)


def _print(found: Comparison) -> None:
    measure = ""
    for entry in found.entries:
        if entry.measure != measure:
            measure = entry.measure
            stdout.print(measure, style="bold", markup=False)
        for line in _lines(found, entry):
            stdout.print(line, markup=False, soft_wrap=True)
    for remark in found.remarks:
        stdout.print(remark, markup=False)


def _lines(found: Comparison, entry: Entry) -> list[str]:
    """One study by one measure, in lines that fit the terminal."""
    from search.report.comparison import told

    scores = [f"{part} {score}" for part, score in (("selection", entry.select), ("report", entry.report)) if score]
    parts = [", ".join(scores), entry.what, "" if entry.difference is None else told(entry.difference)]
    if entry.measure.startswith("after"):
        parts = ["; ".join(filter(None, parts[:2])), parts[2]]
    indent, head = " " * 13, f"  {entry.study:<10} "
    shown = [part for part in parts if part]
    return [
        fill(part, stdout.width, initial_indent=indent if i else head, subsequent_indent=indent)
        for i, part in enumerate(shown)
    ]
