"""`lobtuna demo`: the whole path on simulated data, as the commands that a user would type."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import time
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from search.cli.common import stdout
from search.cli.help import Command

SEQUENCES = {"train": 160, "valid": 64}
STEPS = (
    f"data synth --output data --train {SEQUENCES['train']} --valid {SEQUENCES['valid']} --seed 1",
    "run demo.yaml --data data --slots 2",
    "status demo",
    "export demo --top 3 --output submission.zip",
    "score submission.zip --data data/valid.parquet",
    "rank demo",
)
NEXT = (
    ("replicate demo --top 3 --seeds 3", "one seed proves little: repeat the best under more seeds,"),
    ("work demo --data data", "train them,"),
    ("report demo --output report", "and read what the search has learned"),
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", cls=Command, epilog="lobtuna demo --output /tmp/lobtuna-demo")(demo)


def demo(
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Folder for all that the demo writes.")
    ] = Path("lobtuna-demo"),
) -> None:
    """Simulate order books, search ten trials, export the best three, score them. About two minutes on a laptop."""
    started = time.monotonic()
    _fresh(output)
    (output / "demo.yaml").write_text(files("search.cli").joinpath("demo.yaml").read_text())
    stdout.print(f"Everything below happens in {output.resolve()}", markup=False, soft_wrap=True)
    with contextlib.chdir(output), _own_settings():
        for step in STEPS:
            _type(step)
    stdout.print(f"\nDone in {time.monotonic() - started:.0f} s. Try next:", markup=False)
    stdout.print(f"  cd {shlex.quote(str(output))}", markup=False, soft_wrap=True)
    for command, reason in NEXT:
        stdout.print(f"  lobtuna {command:<33} # {reason}", markup=False, soft_wrap=True)


def _type(step: str) -> None:
    from search.cli import app

    stdout.print(f"\n[bold]$ lobtuna {step}[/bold]", soft_wrap=True)
    app(args=shlex.split(step), standalone_mode=False)


def _fresh(folder: Path) -> None:
    """Make an empty folder. An earlier demo is replaced; a folder with anything else is refused."""
    from search.errors import SearchError

    if (folder / "demo.yaml").is_file():
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except OSError as error:
        raise SearchError(
            f"{folder} cannot be the demo's folder ({error.strerror}); name another with --output"
        ) from None
    if occupied:
        raise SearchError(f"{folder} is not empty and holds no earlier demo; name another folder with --output")


@contextlib.contextmanager
def _own_settings():  # type: ignore[no-untyped-def]
    """Hide the user's settings, so that the demo uses its own database and data."""
    names = ("LOBTUNA_STORAGE", "LOBTUNA_DATA")
    saved = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(saved)
