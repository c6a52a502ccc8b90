"""PostgreSQL, the study, the dashboard and workers on one Docker host."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

from search.errors import SearchError
from search.launch.job import SECRET, Job

DASHBOARD_PASSWORD = "/run/secrets/dashboard_password"
# Without the password: the driver takes that from PGPASSWORD, where no sign of it has to be escaped.
URL = "postgresql://lobtuna@db:5432/lobtuna"
PASSWORD = "${POSTGRES_PASSWORD:?write it into .env}"
CPU_TORCH = "https://download.pytorch.org/whl/cpu"  # torch's own index of builds without CUDA, a tenth of the size
FOLDER = "/lobtuna"


def project(job: Job, gpus: bool) -> dict[str, Any]:
    """The services as the Compose specification has them. The password comes from the file .env beside it."""
    return {
        "name": f"lobtuna-{job.slug}",
        "services": {
            "db": _database(),
            "study": _study(job),
            "dashboard": _dashboard(job),
            "worker": _worker(job, gpus),
        },
        "volumes": {"database": {}, "cache": {}, "kept": {}},
        "secrets": {"dashboard_password": {"file": "./dashboard-password"}},
    }


def _database() -> dict[str, Any]:
    # Over TCP: while the image sets a new database up, its first server answers on a socket only, and then restarts.
    ready = "pg_isready -h 127.0.0.1 -U lobtuna -d lobtuna"
    return {
        "image": "postgres:17",
        "environment": {"POSTGRES_USER": "lobtuna", "POSTGRES_DB": "lobtuna", "POSTGRES_PASSWORD": PASSWORD},
        "volumes": ["database:/var/lib/postgresql/data"],
        "ports": ["127.0.0.1:5432:5432"],
        "healthcheck": {"test": ["CMD-SHELL", ready], "interval": "5s", "timeout": "5s", "retries": 24},
        "restart": "unless-stopped",
    }


def _study(job: Job) -> dict[str, Any]:
    """The service that creates the study, queues its baselines and exits. Running it again changes nothing."""
    # A revised study differs from the file, and `create` refuses it: then it is enough that the study exists.
    script = f"lobtuna create {FOLDER}/study.yaml || lobtuna status {shlex.quote(job.study)}"
    return {**_built(job), "command": ["sh", "-c", script], "restart": "on-failure"}


def _dashboard(job: Job) -> dict[str, Any]:
    serve = ["lobtuna", "dashboard", "--host", "0.0.0.0", "--port", "8080", "--auth", f"lobtuna:{DASHBOARD_PASSWORD}"]
    return {
        **_after_study(job),
        "command": serve,
        "secrets": ["dashboard_password"],
        "ports": ["127.0.0.1:8080:8080"],
    }


def _worker(job: Job, gpus: bool) -> dict[str, Any]:
    command = ["lobtuna", *job.arguments("/data"), "--wait"]
    if not gpus:
        first = command.index("--gpus")
        command[first : first + 4] = ["--slots", "${SLOTS:-1}"]
    worker: dict[str, Any] = {
        **_after_study(job),
        "command": command,
        "volumes": ["${LOBTUNA_DATA:?write the data folder into .env}:/data:ro", "cache:/cache", "kept:/kept"],
        "working_dir": "/kept",
        "stop_grace_period": "10m",  # an epoch may take a while; it is stored and handed back
        "deploy": {"replicas": job.workers},
    }
    if gpus:
        device = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
        worker["deploy"]["resources"] = {"reservations": {"devices": [device]}}
    return worker


def _built(job: Job) -> dict[str, Any]:
    """The settings shared by all services that run our image."""
    return {
        "build": ".",
        "image": f"lobtuna-{job.slug}",
        "environment": {SECRET: URL, "PGPASSWORD": PASSWORD},
        "depends_on": {"db": {"condition": "service_healthy"}},
        "restart": "unless-stopped",
    }


def _after_study(job: Job) -> dict[str, Any]:
    built = _built(job)
    built["depends_on"]["study"] = {"condition": "service_completed_successfully"}
    return built


def dockerfile(job: Job, gpus: bool) -> str:
    """The image: torch for this host, the pinned requirements, the wheel of the digest written here."""
    install = shlex.join(job.package.command("python", FOLDER))
    index = "" if gpus else ' --torch-index "$TORCH_INDEX"'
    argument = "" if gpus else f"ARG TORCH_INDEX={CPU_TORCH}\n"
    return (
        f"FROM python:{job.package.python}-slim\n"
        f"{argument}"
        f"COPY package {FOLDER}\n"
        f"RUN {install}{index}\n"
        f"COPY study.yaml {FOLDER}/study.yaml\n"
        "ENV LOBTUNA_CACHE=/cache\n"
    )


def files(job: Job, gpus: bool, folder: Path) -> dict[Path, bytes | str]:
    """All files of the project, by path. Raises `SearchError` for a study of replicates, which no file describes.

    A revision, NAME@2, begins anew in the project's own database, and is called NAME there.
    """
    if job.study.endswith(".seeds"):
        raise SearchError(f"{job.study} holds the replicates of a study: launch {job.study.removesuffix('.seeds')}")
    job = replace(job, spec=job.spec.model_copy(update={"name": job.study.partition("@")[0]}))
    example = """\
        # Copy to .env and fill in. A password with a $ in it is written in single quotes.
        POSTGRES_PASSWORD=
        LOBTUNA_DATA=/path/to/lob
        """
    head = (
        f"# The study {job.study} on one Docker host: database, study, dashboard, workers\n"
        "#   (umask 077; cp env.example .env)   # and fill it in\n"
        "#   (umask 077; openssl rand -base64 24 > dashboard-password)   # user lobtuna at http://localhost:8080\n"
        "#   docker compose up --build --detach\n"
    )
    return {
        folder / "compose.yaml": head + yaml.safe_dump(project(job, gpus), sort_keys=False),
        folder / "Dockerfile": dockerfile(job, gpus),
        folder / ".dockerignore": ".env\ndashboard-password\n",
        folder / "env.example": dedent(example),
        folder / "study.yaml": yaml.safe_dump(job.spec.to_json(), sort_keys=False),
        **{folder / "package" / name: content for name, content in job.package.folder().items()},
    }
