"""`lobtuna wheel`: pack this lobtuna into one file that pip installs elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.cli.common import JsonOption, print_json, stderr, stdout
from search.cli.help import Command


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("wheel", cls=Command, epilog="lobtuna wheel --output dist")(wheel)


def wheel(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")] = Path(),
    json: JsonOption = False,
) -> None:
    """Pack this lobtuna, as it runs here, into a wheel, and print its SHA-256. Equal code gives equal bytes.

    It works in a checkout and where a wheel was installed, needs no build tool, and replaces an earlier wheel.
    """
    from search.launch.job import write
    from search.launch.wheel import running_wheel

    packed = running_wheel()
    path = output / packed.name
    write({path: packed.content}, replace=True)
    if json:
        print_json({"path": str(path), "bytes": len(packed.content), "sha256": packed.sha256})
        return
    stdout.print(f"{packed.sha256}  {path}", markup=False, soft_wrap=True)  # as sha256sum writes and checks it
    stderr.print(f"next: pip install {path}", markup=False, soft_wrap=True)
