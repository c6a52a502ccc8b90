"""`lobtuna launch`: write what lets machines elsewhere join a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.common import StudyArgument, stderr, stdout

if TYPE_CHECKING:
    from search.launch import Job

Workers = Annotated[int, typer.Option(min=1, help="How many workers.")]
PerGpu = Annotated[int, typer.Option(min=1, help="Slots on each GPU.")]
Package = Annotated[
    str | None, typer.Option(metavar="REQUIREMENT", help="What pip installs there.", show_default="this version")
]
Output = Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")]


def register(app: typer.Typer) -> None:
    """Add the `launch` commands."""
    launch = typer.Typer(
        help="Write what lets machines elsewhere join a study: Kaggle, spot GPUs, containers.",
        epilog="Example:  lobtuna launch kaggle joint --user me --dataset me/lob --workers 2",
        no_args_is_help=True,
    )
    launch.command("kaggle", epilog="Example:  lobtuna launch kaggle joint --user me --dataset me/lob --push")(kaggle)
    launch.command("sky", epilog="Example:  lobtuna launch sky joint --data s3://mine/lob --gpu T4:1 --workers 4")(sky)
    launch.command("compose", epilog="Example:  lobtuna launch compose joint --workers 2 --output stack")(compose)
    app.add_typer(launch, name="launch")


def kaggle(
    study: StudyArgument,
    user: Annotated[str, typer.Option(help="Kaggle user name the notebooks belong to.")],
    dataset: Annotated[str, typer.Option(metavar="OWNER/NAME", help="Kaggle data set with both parquet files.")],
    workers: Workers = 1,
    trials_per_gpu: PerGpu = 1,
    accelerator: Annotated[str, typer.Option(help="Kaggle's name of the GPU.")] = "NvidiaTeslaT4",
    time_limit: Annotated[str, typer.Option(metavar="DURATION", help="Work no longer than this.")] = "11h30m",
    package: Package = None,
    output: Output = Path("kaggle"),
    push: Annotated[bool, typer.Option("--push", help="Start them with the kaggle command.")] = False,
) -> None:
    """Write a notebook and its kernel-metadata.json per worker. The database's URL stays in Kaggle's secrets."""
    from search.launch import SECRET, write
    from search.launch import kaggle as target

    job = _job(study, workers, trials_per_gpu, time_limit, package)
    written = []
    for number in range(1, workers + 1):
        written += write(target.kernel(job, number, user, dataset, accelerator, output))
    folders = sorted({path.parent for path in written})
    for folder in folders:
        stdout.print(str(folder), soft_wrap=True)
    if push:
        target.push(folders)
    else:
        stderr.print(f"next: kaggle kernels push -p {folders[0]}   (attach the secret {SECRET} once, on Kaggle)")


def sky(
    study: StudyArgument,
    data: Annotated[str, typer.Option(metavar="DIR|URL", help="Local folder or bucket with both parquet files.")],
    gpu: Annotated[str, typer.Option(help="Accelerator as SkyPilot names it.")] = "T4:1",
    workers: Workers = 1,
    trials_per_gpu: PerGpu = 1,
    time_limit: Annotated[str | None, typer.Option(metavar="DURATION", help="Work no longer than this.")] = None,
    package: Package = None,
    output: Output = Path(),
) -> None:
    """Write a SkyPilot task for spot GPUs; its first lines say how to launch it."""
    from search.launch import sky as target
    from search.launch import write

    job = _job(study, workers, trials_per_gpu, time_limit, package)
    path = output / f"lobtuna-{job.slug}.sky.yaml"
    write({path: target.to_yaml(target.task(job, data, gpu), job, path)})
    stdout.print(str(path), soft_wrap=True)


def compose(
    study: StudyArgument,
    workers: Workers = 1,
    trials_per_gpu: PerGpu = 1,
    gpus: Annotated[bool, typer.Option("--gpus/--no-gpus", help="Give the workers the host's NVIDIA GPUs.")] = False,
    package: Package = None,
    output: Output = Path("compose"),
) -> None:
    """Write a Docker Compose project: PostgreSQL, the dashboard, and workers that wait for replicates."""
    from search.launch import compose as target
    from search.launch import write

    job = _job(study, workers, trials_per_gpu, None, package)
    for path in write(target.files(job, gpus, output)):
        stdout.print(str(path), soft_wrap=True)


def _job(study: str, workers: int, trials_per_gpu: int, time_limit: str | None, package: str | None) -> Job:
    from search.launch import Job
    from search.work.stopping import parse_duration

    if time_limit is not None:
        parse_duration(time_limit)
    job = Job(study, workers, trials_per_gpu, time_limit)
    return job if package is None else Job(study, workers, trials_per_gpu, time_limit, package)
