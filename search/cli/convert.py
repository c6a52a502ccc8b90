"""`lobtuna data cut` and `lobtuna data import`: a user's own series or a public data set as a data folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from search.cli.common import stdout
from search.cli.help import Command

if TYPE_CHECKING:
    from lobmodels.data.cut import Cut

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
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help="Of the files: fi2010 or lobster.")],
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
    horizon: Annotated[
        list[int] | None,
        typer.Option(
            "--horizon",
            metavar="EVENTS",
            help="Of lobster: how far a target looks ahead; may be repeated. 10, 50 and 100 if not given.",
        ),
    ] = None,
    book_only: Annotated[
        bool, typer.Option("--book-only", help="Leave out the columns that are not of the order book.")
    ] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Convert a public data set as it is distributed: train.parquet, valid.parquet and schema.yaml.

    fi2010: the text files of FI-2010 (Ntakaris et al. 2018), 149 rows of numbers, one column an event. Targets are the
    five labels: 1 the mid price goes up, 0 it stays, -1 it goes down.

    lobster: a day's message and order-book files, named by either of the two. Targets are moves of the mid price over
    each --horizon, in basis points.
    """
    from lobmodels.data.cut import Cut

    if kind not in FORMATS:
        raise typer.BadParameter(f"{kind}: choose from {', '.join(FORMATS)}")
    if horizon and kind != "lobster":
        raise typer.BadParameter(f"--horizon is for lobster: the targets of {kind} are in its files")
    files = Files(train, valid or [], output)
    _print(output, FORMATS[kind](files, Shape(length, warmup, horizon, book_only), Cut(gap, valid_share, overwrite)))


@dataclass(frozen=True)
class Files:
    """What is read and where it goes."""

    train: list[Path]
    valid: list[Path]
    output: Path


@dataclass(frozen=True)
class Shape:
    """What a sequence holds."""

    length: int
    warmup: int
    horizons: list[int] | None
    book_only: bool


def _fi2010(files: Files, shape: Shape, cut: Cut) -> tuple[int, ...]:
    from lobmodels.data.fi2010 import import_files, schema_of

    schema = schema_of(shape.length, shape.warmup, book_only=shape.book_only)
    return import_files(files.train, files.valid, files.output, schema, cut)


def _lobster(files: Files, shape: Shape, cut: Cut) -> tuple[int, ...]:
    from lobmodels.data.lobster import HORIZONS, import_files, levels_of, schema_of

    levels, horizons = levels_of(files.train[0]), shape.horizons or HORIZONS
    schema = schema_of(shape.length, shape.warmup, levels, horizons, book_only=shape.book_only)
    return import_files(files.train, files.valid, files.output, schema, cut)


FORMATS: dict[str, Callable[[Files, Shape, Cut], tuple[int, ...]]] = {"fi2010": _fi2010, "lobster": _lobster}


def _print(output: Path, counts: tuple[int, ...]) -> None:
    for name, count in zip(("train", "valid"), counts, strict=True):
        file = output / f"{name}.parquet"
        stdout.print(f"{escape(str(file))}: {count:,} sequences, {file.stat().st_size / 1e6:.1f} MB", soft_wrap=True)
    stdout.print(f"{escape(str(output / 'schema.yaml'))}: what its columns are", soft_wrap=True)
    stdout.print(f"next: lobtuna data check {output}", markup=False, soft_wrap=True)
