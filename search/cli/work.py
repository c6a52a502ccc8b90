"""`lobtuna work`: run trials of a study on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.cli.common import (
    DEFAULT_STORAGE,
    DataOption,
    JsonOption,
    PluginOption,
    StorageOption,
    StudyArgument,
    TrustOption,
    print_json,
    stderr,
)
from search.cli.help import Command, examples

EPILOG = examples(
    "# One process on a CPU or on the first GPU",
    "lobtuna work joint --data ~/lob",
    "# Every GPU of a rented machine, in time before it is taken away",
    "lobtuna work joint --storage postgresql://me@host/db --data ~/lob --gpus all --time-limit 8h30m",
)


def register(app: typer.Typer) -> None:
    """Add the `work` command."""
    app.command("work", cls=Command, epilog=EPILOG)(work)


def work(
    study: StudyArgument,
    data: DataOption,
    storage: StorageOption = DEFAULT_STORAGE,
    gpus: Annotated[
        str | None, typer.Option(metavar="all|0,1,..", help="One supervised process for each of these GPUs.")
    ] = None,
    runs_per_device: Annotated[
        str,
        typer.Option(
            "--runs-per-device",
            "--trials-per-gpu",
            metavar="N|auto",
            help="Runs at once in each process; auto measures on a GPU which number is fastest, and is 1 on a CPU.",
        ),
    ] = "auto",
    slots: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Supervised processes on the CPU; one a core is best.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="cpu, cuda or cuda:N of a single worker.", show_default="cuda if there is one"
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, metavar="N", help="CPU threads of a worker; to use more cores, add slots instead.")
    ] = 1,
    time_limit: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Hand the trial back and stop before this is over: 8h30m, 90m."),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, metavar="N", help="Most trials that each worker runs.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay when nothing is left to do: replicates may be queued later.")
    ] = False,
    grace: Annotated[
        float,
        typer.Option(
            min=0.5, metavar="SECONDS", help="Seconds of silence after which others take over a trial begun here."
        ),
    ] = 60.0,
    checkpoint_every: Annotated[
        float,
        typer.Option(min=0.0, metavar="SECONDS", help="Least seconds between two uploads of a running trial's state."),
    ] = 60.0,
    patience: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="Seconds to wait for a database that cannot be reached.")
    ] = 60.0,
    keep: Annotated[
        Path, typer.Option(metavar="DIR", help="Where a finished run is saved while the database cannot be reached.")
    ] = Path("lobtuna-kept"),
    plugin: PluginOption = None,
    trust_plugins: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """Run trials of STUDY here until its budget is spent, a limit is reached, or Ctrl-C.

    A first signal ends work after the present epoch and hands the trial back; a second one ends it at once.
    """
    from search.work.posix import require_posix

    require_posix()
    from search.work.options import WorkOptions, parse_runs_per_device
    from search.work.start import start
    from search.work.stopping import parse_duration

    options = WorkOptions(
        device=device,
        threads=threads,
        trials=trials,
        time_limit=None if time_limit is None else parse_duration(time_limit),
        wait=wait,
        grace=grace,
        checkpoint_every=checkpoint_every,
        patience=patience,
        keep_folder=keep,
        plugins=tuple(str(file.resolve()) for file in plugin or ()),
        trust_plugins=trust_plugins,
        runs_per_device=parse_runs_per_device(runs_per_device),
    )
    summary = start(storage, study, data, options, stderr, gpus=gpus, slots=slots)
    if json:
        print_json({"outcomes": summary.outcomes, "trials": summary.trials, "stopped": summary.stopped})
