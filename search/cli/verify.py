"""`lobtuna verify`: is the submission the ensemble that was trained?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from search.cli.common import JsonOption, PluginOption, TrustOption, print_json, progress_bar, stderr, stdout
from search.cli.help import Command

EPILOG = "lobtuna verify submission.zip --data ~/lob/valid.parquet"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify", cls=Command, epilog=EPILOG)(verify)


def verify(
    submission: Annotated[Path, typer.Argument(metavar="ZIP", help="A submission made by `lobtuna export`.")],
    data: Annotated[
        Path,
        typer.Option("--data", envvar="LOBTUNA_DATA", metavar="FILE", help="valid.parquet, or the folder it is in."),
    ],
    sequences: Annotated[
        int, typer.Option("--sequences", min=2, metavar="N", help="How many sequences to compare.")
    ] = 2,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            envvar="LOBTUNA_STORAGE",
            metavar="URL",
            help="Database of the study: compares the weights with the stored checkpoints too.",
            show_default="the digests in the zip",
        ),
    ] = None,
    plugin: PluginOption = None,
    trust_plugins: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """Compare the submission, row by row in its own process, with the trained networks on whole sequences.

    With and without a reset between sequences, features apart, repeated, and all of it again without numba. Before
    that, every weight with what was exported, and with --storage with what was trained. Exit 1 if anything differs by
    more than 1e-5, or a weight differs at all.
    """
    from lobmodels.errors import ScoringError
    from search.ship.verify import verify as run

    with progress_bar("verifying") as progress:
        found = run(
            submission,
            data,
            sequences=sequences,
            storage=storage,
            plugins=plugin or (),
            trust_plugins=trust_plugins,
            progress=progress,
        )
    checks = found.checks
    if not found.weights_checked:
        stderr.print(
            f"{submission}: exported by an older lobtuna, which wrote no digests: whether the weights are those of the "
            "trained runs is not checked; name their database with --storage",
            markup=False,
            soft_wrap=True,
        )
    if json:
        rows = [{**vars(check), "difference": _finite(check.difference), "ok": check.ok} for check in checks]
        print_json({"submission": str(submission), "ok": found.ok, "checks": rows})
    else:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("check", "step", "largest difference", "allowed", ""):
            table.add_column(column, justify="right" if column in {"largest difference", "allowed"} else "left")
        for check in checks:
            verdict = "[green]ok[/]" if check.ok else "[red]fails[/]"
            table.add_row(check.name, check.backend, f"{check.difference:.2g}", f"{check.limit:g}", verdict)
        stdout.print(table)
    if not found.ok:
        raise ScoringError(f"{submission}: {', '.join(found.failed)} failed; do not send it, export it again")


def _finite(value: float) -> float | None:
    """The value, or None where it is infinite or NaN, which JSON cannot hold."""
    return value if math.isfinite(value) else None
