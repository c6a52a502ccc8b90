"""`lobtuna submit`: store a finished run that a worker saved to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.cli.common import DEFAULT_STORAGE, JsonOption, StorageOption, print_json, stdout
from search.cli.help import Command


def register(app: typer.Typer) -> None:
    """Add the `submit` command."""
    epilog = "lobtuna submit lobtuna-kept/joint-17.run --storage postgresql://me@host/db"
    app.command("submit", cls=Command, epilog=epilog)(submit)


def submit(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Saved runs; the worker printed their names.")],
    storage: StorageOption = DEFAULT_STORAGE,
    json: JsonOption = False,
) -> None:
    """Store runs that finished while the database could not be reached. Each file is removed once its run is stored."""
    import os
    import socket

    from search.study.open import existing_storage
    from search.work.file_lock import held
    from search.work.rescue import SavedRun
    from search.work.rescue import submit as store

    done = []
    for file in files:
        with held(file):
            saved = SavedRun.load(file)
            opened = existing_storage(storage, saved.study)
            number, text = store(saved, opened, f"{socket.gethostname()}:{os.getpid()}")
            file.unlink()
        done.append({"file": str(file), "study": saved.study, "number": number, "outcome": text})
        if not json:
            stdout.print(f"{saved.study} #{number} {text}")
    if json:
        print_json(done)
