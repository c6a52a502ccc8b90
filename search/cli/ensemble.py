"""`lobtuna ensemble`: analyse a pool of runs before some of them are averaged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.common import (
    DEFAULT_STORAGE,
    DataOption,
    JsonOption,
    PluginOption,
    StorageOption,
    StudyArgument,
    TrustOption,
    named_runs,
    print_json,
    progress_bar,
    stdout,
)
from search.cli.help import Command

if TYPE_CHECKING:
    from lobmodels.ensemble.analysis import Analysis

EPILOG = "lobtuna ensemble joint --data ~/lob --top 20 --output analysis"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ensemble", cls=Command, epilog=EPILOG)(ensemble)


def ensemble(
    name: StudyArgument,
    data: DataOption,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for tables and figures.")] = Path(
        "analysis"
    ),
    storage: StorageOption = DEFAULT_STORAGE,
    top: Annotated[
        int | None, typer.Option("--top", min=2, metavar="N", help="The best runs.", show_default="20")
    ] = None,
    members: Annotated[
        str | None, typer.Option("--members", metavar="A,B,..", help="Exactly these runs: 3,7,joint.seeds#12.")
    ] = None,
    per_config: Annotated[
        int | None,
        typer.Option("--per-config", min=1, metavar="N", help="At most this many seeds of one configuration."),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="report|select|all", help="Sequences of the tables.", show_default="report"),
    ] = None,
    plugin: PluginOption = None,
    trust_plugins: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """Analyse the runs of STUDY as members: scores, correlations, number, diversity, weights; CSV, JSON and HTML.

    Predictions on validation are computed once and kept in the cache. Weights are fitted on the selection sequences
    and judged on the report sequences.
    """
    from search.ship.analysis import analyse_pool

    names = named_runs(members)
    with progress_bar("predicting validation") as progress:
        analysis, files = analyse_pool(
            storage, name, data, output, top, names, per_config, on, progress, plugin or (), trust_plugins
        )
    if json:
        print_json(
            {
                "study": name,
                "on": analysis.on,
                "sequences": analysis.counts,
                "models": analysis.model_scores.records(),
                "optimal_weights": analysis.optimal_weights,
                "files": [str(path) for path in files],
            }
        )
    else:
        _print(analysis, output)


def _print(analysis: Analysis, output: Path) -> None:
    from rich.table import Table

    counts = analysis.counts
    stdout.print(
        f"{len(analysis.names)} runs; {counts['select']} selection and {counts['report']} report sequences",
        markup=False,
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("members", "select", "report"):
        table.add_column(column, justify="right")
    growth = analysis.ensemble_vs_n_models
    for row in growth.records():
        if row["n_models"] in {1, 2, 3, 5, 10, 20, len(growth.rows)}:
            table.add_row(str(row["n_models"]), *(_score(row.get(f"{part}_avg")) for part in ("select", "report")))
    stdout.print("uniform ensembles of the best on selection", markup=False)
    stdout.print(table)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("weights", "select", "report", "better than uniform in"):
        table.add_column(column, justify="left" if column == "weights" else "right")
    for name, entry in analysis.optimal_weights["variants"].items():
        better = f"{entry['better_in']:.0%} of resamples" if "better_in" in entry else "-"
        table.add_row(name, *(_score(entry.get(part, {}).get("avg")) for part in ("select", "report")), better)
    stdout.print(table)
    stdout.print(_advice(analysis), markup=False, soft_wrap=True)
    stdout.print(f"tables and figures: {output}", markup=False, soft_wrap=True)


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _advice(analysis: Analysis) -> str:
    from lobmodels.bootstrap import FEW

    weights = analysis.optimal_weights
    if weights["compared_on"] is None:
        return "no report sequences were set aside to judge fitted weights by: ship uniform ones"
    if analysis.counts["report"] < FEW:
        return f"{analysis.counts['report']} report sequences are too few to tell weights apart: ship uniform ones"
    if weights["recommended"] == "uniform":
        return "no fitted weights clearly beat uniform ones on sequences they never saw: ship uniform ones"
    return f"{weights['recommended']} weights clearly beat uniform ones on sequences they never saw"
