"""`lobtuna submit`: hand in a finished run that a worker had to keep on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.cli.common import DEFAULT_STORAGE, JsonOption, StorageOption, print_json, stdout


def register(app: typer.Typer) -> None:
    """Add the `submit` command."""
    epilog = "Example:  lobtuna submit lobtuna-kept/joint-17.run --storage postgresql://me@host/db"
    app.command("submit", epilog=epilog)(submit)


def submit(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Kept runs, as the worker named them.")],
    storage: StorageOption = DEFAULT_STORAGE,
    json: JsonOption = False,
) -> None:
    """Store runs that finished while the database was gone. Each file is removed once its run is stored."""
    import os
    import socket

    from search.study.runs import existing_storage
    from search.work.rescue import KeptRun
    from search.work.rescue import submit as hand_in

    done = []
    for file in files:
        kept = KeptRun.load(file)
        opened = existing_storage(storage, kept.study)
        number, text = hand_in(kept, opened, f"{socket.gethostname()}:{os.getpid()}")
        file.unlink()
        done.append({"file": str(file), "study": kept.study, "number": number, "outcome": text})
        if not json:
            stdout.print(f"{kept.study} #{number} {text}")
    if json:
        print_json(done)
