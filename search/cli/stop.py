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

    whose = request_stop(open_study(storage, study), StopRequest(socket.gethostname(), now))
    silent = [worker.silent for worker in status_of(open_study(storage, whose)).workers]
    held = silent.count(False)
    unknown = len(silent) - held
    if json:
        print_json({"study": whose, "now": now, "running": held, "unknown": unknown})
        return
    trained = "" if whose == study else f"{study} is trained by the workers of {whose}: "
    stdout.print(trained + _what_happens(held, unknown, "batch" if now else "epoch"), markup=False, soft_wrap=True)
    stdout.print(f"go on with: lobtuna work {whose}{storage_flag(storage)}", markup=False, soft_wrap=True)


def _what_happens(held: int, unknown: int, until: str) -> str:
    """What happens to trials that a living worker holds, and to running ones of which that is not known."""
    parts = [f"{_trials(held)} will be handed back within 20 s and their present {until}"] if held else []
    if unknown:
        has, it = ("has", "it") if unknown == 1 else ("have", "them")
        parts.append(f"{_trials(unknown)} {has} no worker that can be seen to live: a living one hands {it} back")
    parts = parts or ["no trial is running"]
    return "; ".join([*parts, *([] if held else ["workers that wait for work end within 40 s"])])


def _trials(count: int) -> str:
    return f"{count} running trial{'' if count == 1 else 's'}"
