"""`lobtuna stop`: ask all workers of a study to hand their trials back."""

from __future__ import annotations

import socket
from typing import Annotated

import typer

from search.cli.common import (
    DEFAULT_STORAGE,
    JsonOption,
    StorageOption,
    StudyArgument,
    print_json,
    stdout,
    storage_flag,
)
from search.cli.help import Command

EPILOG = "lobtuna stop joint --storage postgresql://me@host/db"


def register(app: typer.Typer) -> None:
    """Add the `stop` command."""
    app.command("stop", cls=Command, epilog=EPILOG)(stop)


def stop(
    study: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    now: Annotated[
        bool, typer.Option("--now", help="Leave the epoch that is under way: it will be trained again.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Ask every worker of STUDY, on all machines, to hand its trial back and to end.

    Workers read this within 20 s (40 s if they wait for work) and end after their present epoch, with --now after their
    present batch. It concerns the workers that run now: `lobtuna work` goes on with the same trials.
    """
    from search.study.halt import StopRequest, request_stop
    from search.study.open import open_study
    from search.study.status import status_of

    found = open_study(storage, study)
    request_stop(found, StopRequest(socket.gethostname(), now))
    running = [worker for worker in status_of(found).workers if worker.silent is not True]
    if json:
        print_json({"study": study, "now": now, "running": len(running)})
        return
    when = "within 20 s and their present " + ("batch" if now else "epoch")
    what = f"{len(running)} running trial{'' if len(running) == 1 else 's'} will be handed back {when}"
    stdout.print(what if running else "no trial is running; workers that wait for work end within 40 s", markup=False)
    stdout.print(f"go on with: lobtuna work {study}{storage_flag(storage)}", markup=False, soft_wrap=True)
