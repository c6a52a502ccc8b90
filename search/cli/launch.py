"""`lobtuna launch`: write what lets machines elsewhere join a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.cli.common import DEFAULT_STORAGE, StorageOption, StudyArgument, stderr, stdout
from search.cli.help import Command, Group

Workers = Annotated[int, typer.Option(min=1, metavar="N", help="How many workers.")]
PerDevice = Annotated[
    str,
    typer.Option(
        "--runs-per-device", "--trials-per-gpu", metavar="N|auto", help="Runs at once on each GPU; auto measures."
    ),
]
WheelOption = Annotated[
    Path | None,
    typer.Option(
        "--wheel",
        metavar="FILE",
        help="Install this wheel of lobtuna there.",
        show_default="packed from the lobtuna that runs here",
    ),
]
Output = Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")]


def register(app: typer.Typer) -> None:
    """Add the `launch` commands."""
    launch = typer.Typer(
        cls=Group,
        help="Write what lets machines elsewhere join a study: Kaggle, spot GPUs, containers.",
        epilog="lobtuna launch kaggle joint --user me --dataset me/lob --workers 2",
    )
    launch.command("kaggle", cls=Command, epilog="lobtuna launch kaggle joint --user me --dataset me/lob --push")(
        kaggle
    )
    launch.command("sky", cls=Command, epilog="lobtuna launch sky joint --data s3://mine/lob --gpu T4:1 --workers 4")(
        sky
    )
    launch.command("compose", cls=Command, epilog="lobtuna launch compose joint --workers 2 --output stack")(compose)
    app.add_typer(launch, name="launch")


def kaggle(
    study: StudyArgument,
    user: Annotated[str, typer.Option(metavar="NAME", help="Kaggle user name the notebooks belong to.")],
    dataset: Annotated[str, typer.Option(metavar="OWNER/NAME", help="Kaggle data set with both parquet files.")],
    storage: StorageOption = DEFAULT_STORAGE,
    workers: Workers = 1,
    runs_per_device: PerDevice = "auto",
    accelerator: Annotated[str, typer.Option(metavar="NAME", help="Kaggle's name of the GPU.")] = "NvidiaTeslaT4",
    time_limit: Annotated[str, typer.Option(metavar="DURATION", help="Work no longer than this.")] = "11h30m",
    wheel: WheelOption = None,
    output: Output = Path("kaggle"),
    push: Annotated[bool, typer.Option("--push", help="Start them with the kaggle command.")] = False,
) -> None:
    """Write a notebook and its kernel-metadata.json per worker. The database's URL stays in Kaggle's secrets.

    Each notebook holds the wheel of this lobtuna, and refuses to install another; the image's torch stays.
    """
    from search.launch import kaggle as target
    from search.launch.job import SECRET, prepare, write

    job = prepare(storage, study, workers=workers, runs_per_device=runs_per_device, time_limit=time_limit, wheel=wheel)
    written = []
    for number in range(1, workers + 1):
        written += write(target.kernel(job, number, user, dataset, accelerator, output))
    folders = sorted({path.parent for path in written})
    for folder in folders:
        stdout.print(str(folder), markup=False, soft_wrap=True)
    if push:
        target.push(folders)
    else:
        stderr.print(f"next: kaggle kernels push -p {folders[0]}", markup=False, soft_wrap=True)
    stderr.print(f"by hand, once a notebook: tick {SECRET}, choose GPU T4 x2, Save & Run All", soft_wrap=True)


def sky(
    study: StudyArgument,
    data: Annotated[str, typer.Option(metavar="DIR|URL", help="Local folder or bucket with both parquet files.")],
    storage: StorageOption = DEFAULT_STORAGE,
    gpu: Annotated[str, typer.Option(metavar="NAME:N", help="Accelerator as SkyPilot names it.")] = "T4:1",
    workers: Workers = 1,
    runs_per_device: PerDevice = "auto",
    time_limit: Annotated[str | None, typer.Option(metavar="DURATION", help="Work no longer than this.")] = None,
    wheel: WheelOption = None,
    output: Output = Path("sky"),
) -> None:
    """Write a SkyPilot task for spot GPUs, and the wheel it installs; its first lines say how to launch it."""
    from search.launch import sky as target
    from search.launch.job import prepare, write

    job = prepare(storage, study, workers=workers, runs_per_device=runs_per_device, time_limit=time_limit, wheel=wheel)
    _print(write(target.files(job, data, gpu, output)))


def compose(
    study: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    workers: Workers = 1,
    runs_per_device: PerDevice = "auto",
    gpus: Annotated[bool, typer.Option("--gpus/--no-gpus", help="Give the workers the host's NVIDIA GPUs.")] = False,
    wheel: WheelOption = None,
    output: Output = Path("compose"),
) -> None:
    """Write a Docker Compose project: a PostgreSQL with the study, the dashboard, and workers that wait for replicates.

    The study's definition comes from the database given here; in the project's own database it begins without trials.
    """
    from search.launch import compose as target
    from search.launch.job import prepare, write

    job = prepare(storage, study, workers=workers, runs_per_device=runs_per_device, wheel=wheel, far=False)
    _print(write(target.files(job, gpus, output)))


def _print(paths: list[Path]) -> None:
    for path in paths:
        stdout.print(str(path), markup=False, soft_wrap=True)
