"""A SkyPilot task for spot GPUs of whatever cloud is cheapest, with the package folder that it copies to them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

from search.errors import SearchError
from search.launch.job import SECRET, Job

DATA = "/data/lob"
PACKAGE = "/tmp/lobtuna-package"
PYTHON = "$HOME/lobtuna/bin/python"


def task(job: Job, data: str, gpu: str, package: Path) -> dict[str, Any]:
    """The content of SkyPilot's task file. `data` is a bucket URL or a local folder, `package` the folder to copy.

    Raises `SearchError` where `data` is neither.
    """
    is_url = "://" in data
    if not is_url and not Path(data).expanduser().is_dir():
        raise SearchError(f"--data {data!r} is neither a folder nor a bucket such as s3://NAME/lob")
    mount: Any = {"source": data, "mode": "COPY"} if is_url else str(Path(data).expanduser().resolve())
    return {
        "name": f"lobtuna-{job.slug}",
        "num_nodes": 1,
        "resources": {
            "accelerators": gpu,
            "use_spot": True,
            # The study queues an interrupted trial again by itself; SkyPilot only has to start a new machine.
            "job_recovery": {"strategy": "EAGER_NEXT_REGION", "max_restarts_on_errors": 3},
        },
        "secrets": {SECRET: None},  # given with --secret; launching without it is refused
        "file_mounts": {DATA: mount, PACKAGE: str(package.resolve())},
        "setup": _setup(job),
        "run": f'"$HOME/lobtuna/bin/lobtuna" {shlex.join(job.arguments(DATA))}\n',
    }


def _setup(job: Job) -> str:
    """An environment of its own: the images' Python is older, and SkyPilot installs uv on every machine."""
    install = shlex.join(job.package.command("PYTHON", PACKAGE)).replace("PYTHON", f'"{PYTHON}"')
    return (
        "set -e\n"
        'export PATH="$HOME/.local/bin:$PATH"\n'
        f'test -x "{PYTHON}" || uv venv --seed --python {job.package.python} "$HOME/lobtuna"\n'
        f"{install}\n"
    )


def files(job: Job, data: str, gpu: str, folder: Path) -> dict[Path, bytes | str]:
    """All files, by path: the task, with the commands that launch it, and the package."""
    package = folder / "package"
    path = folder / f"lobtuna-{job.slug}.sky.yaml"
    document = task(job, data, gpu, package)
    times = f"for i in $(seq {job.workers}); do " if job.workers > 1 else ""
    name = f"-n lobtuna-{job.slug}{'-$i' if times else ''}"
    end = "; done" if times else ""
    text = (
        f"# {job.workers} spot worker(s) of the study {job.study}\n"
        f"#   export {SECRET}=postgresql://...\n"
        f"#   {times}sky jobs launch -y -d {name} --secret {SECRET} {path.name}{end}\n"
        + yaml.safe_dump(document, sort_keys=False)
    )
    return {path: text, **{package / name: content for name, content in job.package.folder().items()}}
