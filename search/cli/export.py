"""`lobtuna export`: a study's best configurations as one submission."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.cli.common import (
    DEFAULT_STORAGE,
    JsonOption,
    PluginOption,
    StorageOption,
    StudyArgument,
    TrustOption,
    named_runs,
    print_json,
    progress_bar,
    stderr,
    stdout,
)
from search.cli.help import Command, examples

if TYPE_CHECKING:
    from search.ship.export import Shipment

WEIGHTS_HELP = (
    "uniform; families: gru=0.7,gru_attention=0.3; numbers in the members' order: 0.5,0.3,0.2, or two lists for t0/t1; "
    "a JSON file, or FILE#VARIANT; fitted on the selection sequences of --data: optimised, shrunk, greedy."
)
EPILOG = examples(
    "lobtuna export joint --best 20 --data ~/lob --output submission.zip",
    "# Exactly these runs, weights fitted on the selection sequences",
    "lobtuna export joint --members 3,7,joint.seeds#12 --weights shrunk --data ~/lob",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", cls=Command, epilog=EPILOG)(export)


def export(
    name: StudyArgument,
    best: Annotated[
        int | None,
        typer.Option(
            "--best",
            min=1,
            metavar="N",
            help="Members: at most N runs whose average is expected to score best on new data.",
            show_default="20",
        ),
    ] = None,
    configurations: Annotated[
        int | None,
        typer.Option(
            "--configurations",
            min=1,
            metavar="N",
            help="Members: the runs of the configurations that rank first, instead.",
            show_default="5, with --seeds or --refit",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds", min=1, metavar="N", help="At most this many runs of each configuration.", show_default="4"
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            min=1,
            metavar="N",
            help="Members: the single runs with the highest scores instead.",
        ),
    ] = None,
    top_t0: Annotated[
        int | None, typer.Option("--top-t0", min=1, metavar="N", help="Members for t0: the runs that are best on it.")
    ] = None,
    top_t1: Annotated[
        int | None, typer.Option("--top-t1", min=1, metavar="N", help="Likewise for t1; give both.")
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Take the configurations' refits: trained on all but report.")
    ] = False,
    with_report: Annotated[
        bool, typer.Option("--with-report", help="With --refit: those that were trained on report too.")
    ] = False,
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="The zip to write.")] = Path(
        "submission.zip"
    ),
    storage: StorageOption = DEFAULT_STORAGE,
    members: Annotated[
        str | None,
        typer.Option("--members", metavar="A,B,..", help="Exactly these runs: 3,7,joint.seeds#12."),
    ] = None,
    per_config: Annotated[
        int | None,
        typer.Option("--per-config", min=1, metavar="N", help="At most this many seeds of one configuration."),
    ] = None,
    weights: Annotated[str, typer.Option("--weights", metavar="HOW", help=WEIGHTS_HELP)] = "uniform",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            envvar="LOBTUNA_DATA",
            metavar="DIR",
            help="Data of the study: how alike runs predict, and the ensemble's scores; fitted weights need it.",
        ),
    ] = None,
    max_mb: Annotated[
        float | None,
        typer.Option(
            "--max-mb",
            min=0.001,
            metavar="MB",
            help="Leave out the last members until the zip is this small.",
            show_default="20, or fail",
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            "--max-seconds",
            min=0.001,
            metavar="SECONDS",
            help="Likewise until 1,500 sequences take no longer, measured here.",
        ),
    ] = None,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="Write NAME-conservative, -optimised, -shrunk and a manifest of them.")
    ] = False,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Also write the ensemble as one ONNX graph beside the zip.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a zip that exists.")] = False,
    plugin: PluginOption = None,
    trust_plugins: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """Write runs of STUDY as one submission: by default the uniform average of twenty runs or fewer.

    They are those whose average is expected to score best on new data: what a run is worth follows from its score, its
    configuration's other runs and the noise of both, and runs that predict alike gain less together. --data measures
    how alike they predict; without it usual values are taken. The worse half of the runs is left out.
    """
    from search.errors import SearchError
    from search.ship.export import Request, ship

    if (top_t0 is None) != (top_t1 is None):
        raise SearchError("--top-t0 and --top-t1 say how many members each target gets; give both")
    request = Request(
        best=best,
        top=top,
        configurations=configurations,
        seeds=seeds,
        by_target=() if top_t0 is None or top_t1 is None else (top_t0, top_t1),
        refit=refit,
        with_report=with_report,
        force=force,
        members=named_runs(members),
        per_config=per_config,
        weights=weights,
        max_mb=max_mb,
        max_seconds=max_seconds,
        candidates=candidates,
        onnx=onnx,
        plugins=tuple(plugin or ()),
        trust_plugins=trust_plugins,
    )
    with progress_bar("predicting validation") as progress:
        shipments = ship(storage, name, request, output, data, progress)
    if json:
        print_json({"study": name, "submissions": [shipment.document() for shipment in shipments]})
    else:
        for shipment in shipments:
            print_shipment(shipment)
    for shipment in shipments:
        for remark in shipment.remarks:
            stderr.print(remark, markup=False, soft_wrap=True)


def print_shipment(shipment: Shipment) -> None:
    """Members, weights and scores of one submission."""
    from rich.table import Table

    members = shipment.bundle.members
    count = "1 member" if len(members) == 1 else f"{len(members)} members"
    line = f"{shipment.path}: {count}, {shipment.weights} weights, {shipment.bytes / 1e6:.2f} MB"
    stdout.print(line, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, justify in (("run", "left"), ("weight", "right"), ("select", "right"), ("", "left")):
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for member, weight in zip(members, shipment.bundle.weights, strict=True):
        table.add_row(member.name, _weight(weight), _score(member.score), _shape(member))
    stdout.print(table)
    for part, uniform in (("select", "uniform_select"), ("report", "uniform_report")):
        if part in shipment.scores:
            beside = "" if shipment.weights == "uniform" else f"   uniform {shipment.scores[uniform]:.4f}"
            stdout.print(f"ensemble on the {_sequences(part)}: {shipment.scores[part]:.4f}{beside}", soft_wrap=True)
    if shipment.onnx is not None:
        stdout.print(f"{shipment.onnx}: the same as one ONNX graph", markup=False, soft_wrap=True)


def _weight(weight: Any) -> str:
    values = weight.tolist()
    return "/".join(f"{value:.3f}" for value in (values if len(set(values)) > 1 else values[:1]))


def _score(score: float | None) -> str:
    return "not validated" if score is None else f"{score:.4f}"


def _shape(member: Any) -> str:
    config = member.config
    extra = "".join(f" +{group}" for group in member.pipeline.groups)
    several = f", keeps {len(member.epochs)} epochs" if member.epochs else ""
    return f"{config.architecture} {config.num_layers}x{config.hidden_size}{extra} seed {member.seed}{several}"


def _sequences(part: str) -> str:
    return "selection sequences" if part == "select" else "report sequences, which no run was chosen by"
