"""`lobtuna report`: what a search learned, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.cli.common import (
    DEFAULT_STORAGE,
    PluginOption,
    StorageOption,
    StudyArgument,
    TrustOption,
    progress_bar,
    stderr,
    stdout,
    unless_asked,
)
from search.cli.help import Command, examples

EPILOG = examples(
    "lobtuna report joint --output report",
    "# With the ensemble's score, and beside another study",
    "lobtuna report joint --data ~/lob --against wide --output report",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report", cls=Command, epilog=EPILOG)(report)


def report(
    context: typer.Context,
    name: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the page and its tables.")
    ] = Path("report"),
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            envvar="LOBTUNA_DATA",
            metavar="DIR",
            help="The study's data: the first lines then score the ensemble and a ridge regression.",
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="STUDY", help="Also compare with this study; may be repeated."),
    ] = None,
    ensemble: Annotated[
        Path | None,
        typer.Option(
            "--ensemble", metavar="DIR", help="What lobtuna ensemble wrote.", show_default="analysis, if of STUDY"
        ),
    ] = None,
    plugin: PluginOption = None,
    trust_plugins: TrustOption = False,
) -> None:
    """Write what STUDY learned as one HTML page that needs no network, its tables as CSV, and the next study file."""
    from search.report import write_report
    from search.study.open import SEEDS, open_study
    from search.study.plugins import require_code

    study = open_study(storage, name.removesuffix(SEEDS))
    others = [open_study(storage, other) for other in against or ()]
    if plugin or trust_plugins:
        require_code(study, plugin or (), trust_plugins)
    references = None
    if data is not None:
        from search.ship.reference import score_references

        with unless_asked(context, "data"), progress_bar("predicting validation for the ensemble") as progress:
            references = score_references(study, data, progress)
        if references is not None and not references.stored:
            stderr.print("note: the database cannot be written: the scores are on this page alone", markup=False)
    with stderr.status("reading the trials") as status:
        page = write_report(study, output, lambda stage: status.update(stage), ensemble, others, references)
    files = sorted(path.name for path in output.iterdir() if path.suffix == ".csv")
    stdout.print(f"{page}", markup=False, soft_wrap=True)
    stderr.print(f"{len(files)} tables beside it, and next.yaml: the study to run next", markup=False, soft_wrap=True)
