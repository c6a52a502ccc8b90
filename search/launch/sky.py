"""A SkyPilot task for spot GPUs of the cheapest cloud."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

from search.errors import SearchError
from search.launch import SECRET, Job

DATA = "/data/lob"


def task(job: Job, data: str, gpu: str) -> dict[str, Any]:
    """The task as SkyPilot's YAML has it. `data` is a bucket URL or a local folder."""
    is_url = "://" in data
    if not is_url and not Path(data).expanduser().is_dir():
        raise SearchError(f"--data {data!r} is neither a folder nor a bucket such as s3://NAME/lob")
    mount: Any = {"source": data, "mode": "COPY"} if is_url else str(Path(data).expanduser())
    return {
        "name": f"lobtuna-{job.slug}",
        "num_nodes": 1,
        "resources": {
            "accelerators": gpu,
            "use_spot": True,
            # The study brings an interrupted trial back by itself; SkyPilot only has to bring the machine back.
            "job_recovery": {"strategy": "EAGER_NEXT_REGION", "max_restarts_on_errors": 3},
        },
        "secrets": {SECRET: None},  # given with --secret; launching without it is refused
        "file_mounts": {DATA: mount},
        "setup": f"pip install {shlex.quote(job.package)}",
        "run": shlex.join(job.command(DATA)),
    }


def to_yaml(document: dict[str, Any], job: Job, path: Path) -> str:
    """The task with the commands that launch it."""
    times = f"for i in $(seq {job.workers}); do " if job.workers > 1 else ""
    name = f"-n lobtuna-{job.slug}{'-$i' if times else ''}"
    end = "; done" if times else ""
    return (
        f"# {job.workers} spot worker(s) of the study {job.study}\n"
        f"#   export {SECRET}=postgresql://...\n"
        f"#   {times}sky jobs launch -y -d {name} --secret {SECRET} {path.name}{end}\n"
        + yaml.safe_dump(document, sort_keys=False)
    )
