"""What every command shares: where the study and the data are, and which stream says what."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

DEFAULT_STORAGE = "sqlite:///lobtuna.db"

StorageOption = Annotated[
    str,
    typer.Option(
        "--storage",
        envvar="LOBTUNA_STORAGE",
        metavar="URL",
        help="Database of the study: sqlite:///FILE, postgresql://..., grpc://HOST:PORT or journal://FILE.",
        show_default="sqlite:///lobtuna.db",
    ),
]
DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar="LOBTUNA_DATA",
        metavar="DIR",
        help="Folder with train.parquet and valid.parquet.",
    ),
]
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study in the database.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]

stdout = Console(highlight=False)  # results
stderr = Console(stderr=True, highlight=False)  # logs and progress


def print_json(document: Any) -> None:
    """Write `document` to stdout as JSON, keys in their given order; NaN is refused, as other readers refuse it."""
    print(json.dumps(document, indent=2, allow_nan=False))
