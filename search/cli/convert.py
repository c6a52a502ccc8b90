"""`lobtuna data cut` and `lobtuna data import`: a user's own series or a public data set as a data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from search.cli.common import stdout
from search.cli.help import Command

FORMATS = ("fi2010",)
OutputOption = Annotated[Path, typer.Option("--output", metavar="DIR", help="Data folder to write.")]
GapOption = Annotated[int, typer.Option("--gap", metavar="ROWS", help="Rows left out between two sequences.")]
ShareOption = Annotated[
    float, typer.Option("--valid-share", metavar="SHARE", help="Share of the rows, the last ones, for validation.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace data that is there.")]


def register_in(data: typer.Typer) -> None:
    """Add the commands to the `data` commands."""
    data.command(
        "cut", cls=Command, epilog="lobtuna data cut ticks.parquet --schema schema.yaml --output ticks --gap 100"
    )(cut)
    data.command(
        "import",
        cls=Command,
        epilog="lobtuna data import fi2010 --train Train_CF_7.txt --valid Test_CF_7.txt --output fi2010",
    )(import_data)


def cut(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A parquet file whose rows are in the order of time.")],
    schema_file: Annotated[
        Path, typer.Option("--schema", metavar="FILE", help="Names its columns, and the length of a sequence.")
    ],
    output: OutputOption,
    gap: GapOption = 0,
    valid_share: ShareOption = 0.2,
    series: Annotated[
        str | None,
        typer.Option("--series", metavar="COLUMN", help="Column that changes where another series begins, as a day."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Cut one long series into sequences: train.parquet, valid.parquet and schema.yaml.

    The last rows are for validation, and no sequence crosses the border. Use a --gap at least as long as a target looks
    ahead: neighbouring sequences then share no future.
    """
    from lobmodels.data.cut import Cut, cut_file
    from lobmodels.schema_file import read_schema

    counts = cut_file(file, output, read_schema(schema_file), Cut(gap, valid_share, overwrite), series)
    _print(output, counts)


def import_data(
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help=f"Of the files: {', '.join(FORMATS)}.")],
    train: Annotated[list[Path], typer.Option("--train", metavar="FILE", help="A file to train on; may be repeated.")],
    output: OutputOption,
    valid: Annotated[
        list[Path] | None,
        typer.Option("--valid", metavar="FILE", help="A file to validate on; without one, the last of the train rows."),
    ] = None,
    length: Annotated[int, typer.Option("--length", min=1, metavar="N", help="Steps of a sequence.")] = 400,
    warmup: Annotated[
        int, typer.Option("--warmup", min=0, metavar="N", help="First steps of it that are not scored.")
    ] = 50,
    gap: GapOption = 100,
    valid_share: ShareOption = 0.2,
    book_only: Annotated[
        bool, typer.Option("--book-only", help="Leave out the 104 columns that the authors derived from the book.")
    ] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Convert a public data set as it is distributed: train.parquet, valid.parquet and schema.yaml.

    fi2010: the text files of FI-2010 (Ntakaris et al. 2018), 149 rows of numbers, one column an event. Targets are the
    five labels: 1 the mid price goes up, 0 it stays, -1 it goes down.
    """
    from lobmodels.data.cut import Cut
    from lobmodels.data.fi2010 import import_files, schema_of

    if kind not in FORMATS:
        raise typer.BadParameter(f"{kind}: choose from {', '.join(FORMATS)}")
    schema = schema_of(length, warmup, book_only=book_only)
    _print(output, import_files(train, valid or [], output, schema, Cut(gap, valid_share, overwrite)))


def _print(output: Path, counts: tuple[int, ...]) -> None:
    for name, count in zip(("train", "valid"), counts, strict=True):
        file = output / f"{name}.parquet"
        stdout.print(f"{escape(str(file))}: {count:,} sequences, {file.stat().st_size / 1e6:.1f} MB", soft_wrap=True)
    stdout.print(f"{escape(str(output / 'schema.yaml'))}: what its columns are", soft_wrap=True)
    stdout.print(f"next: lobtuna data check {output}", markup=False, soft_wrap=True)
