"""Starts the workers of this machine: in this process, or one supervised process a slot. `work` without its options."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from rich.console import Console

from search.study.halt import token_in
from search.work.options import WorkOptions, WorkSummary
from search.work.posix import require_posix
from search.work.progress import Progress
from search.work.supervisor import plan, single, supervise


def start(
    url: str,
    study: str,
    data: Path,
    options: WorkOptions,
    console: Console,
    *,
    gpus: str | None = None,
    slots: int | None = None,
) -> WorkSummary:
    """Work on `study` here until its budget is spent, a limit is reached or a signal arrives; progress goes to
    `console`.

    One process a slot with `gpus` ("all" or "0,1"), with `slots` on the CPU, and for a single GPU; otherwise in this
    process. Raises `SearchError` on Windows, for a study or GPUs that are not there, and where every slot failed,
    `StorageError` for a database that cannot be reached.
    """
    require_posix()
    # First of all: whoever sees this command run and asks for a stop means it, although torch and the data still load.
    options = dataclasses.replace(options, known_stop=token_in(url, study, patience=options.patience))
    one = gpus is None and slots is None
    planned = single(options.device, options.threads) if one else plan(gpus, slots, options.threads)
    if planned:
        return supervise(url, study, data, options, planned, console)
    return _in_this_process(url, study, data, options, console)


def _in_this_process(url: str, study: str, data: Path, options: WorkOptions, console: Console) -> WorkSummary:
    """One worker on the CPU."""
    from search.work.worker import work  # imports torch, which takes seconds

    with Progress(console).display() as progress:

        def end_process(code: int) -> None:
            progress.leave()
            os._exit(code)

        return work(url, study, data, options=options, emit=progress.handle, end_process=end_process)
