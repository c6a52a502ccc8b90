"""PostgreSQL, the dashboard and workers on one Docker host."""

from __future__ import annotations

import shlex
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

from search.launch import SECRET, Job

PASSWORD = "/run/secrets/dashboard_password"
URL = "postgresql://lobtuna:${POSTGRES_PASSWORD:?write it into .env}@db:5432/lobtuna"


def project(job: Job, gpus: bool) -> dict[str, Any]:
    """The services as the Compose specification has them. The password comes from the file .env beside it."""
    command = job.command("/data")
    if not gpus:
        first = command.index("--gpus")
        command[first : first + 4] = ["--slots", "${SLOTS:-1}"]
    worker: dict[str, Any] = {
        **_built(job),
        "command": [*command, "--wait"],
        "volumes": ["${LOBTUNA_DATA:?write the data folder into .env}:/data:ro", "cache:/cache", "kept:/kept"],
        "working_dir": "/kept",
        "stop_grace_period": "10m",  # an epoch may take a while; it is stored and handed back
        "deploy": {"replicas": job.workers},
    }
    if gpus:
        device = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
        worker["deploy"]["resources"] = {"reservations": {"devices": [device]}}
    dashboard = {
        **_built(job),
        "command": ["lobtuna", "dashboard", "--host", "0.0.0.0", "--port", "8080", "--auth", f"lobtuna:{PASSWORD}"],
        "secrets": ["dashboard_password"],
        "ports": ["127.0.0.1:8080:8080"],
    }
    database = {
        "image": "postgres:17",
        "environment": {
            "POSTGRES_USER": "lobtuna",
            "POSTGRES_DB": "lobtuna",
            "POSTGRES_PASSWORD": "${POSTGRES_PASSWORD:?write it into .env}",
        },
        "volumes": ["database:/var/lib/postgresql/data"],
        "ports": ["127.0.0.1:5432:5432"],
        "healthcheck": {"test": ["CMD-SHELL", "pg_isready -U lobtuna"], "interval": "5s", "retries": 12},
        "restart": "unless-stopped",
    }
    return {
        "name": f"lobtuna-{job.slug}",
        "services": {"db": database, "dashboard": dashboard, "worker": worker},
        "volumes": {"database": {}, "cache": {}, "kept": {}},
        "secrets": {"dashboard_password": {"file": "./dashboard-password"}},
    }


def _built(job: Job) -> dict[str, Any]:
    """What the services made from our image have in common."""
    return {
        "build": ".",
        "image": f"lobtuna-{job.slug}",
        "environment": {SECRET: URL},
        "depends_on": {"db": {"condition": "service_healthy"}},
        "restart": "unless-stopped",
    }


def files(job: Job, gpus: bool, folder: Path) -> dict[Path, str]:
    """All files of the project, by path."""
    dockerfile = f"""\
        FROM python:3.11-slim
        RUN pip install --no-cache-dir {shlex.quote(job.package)}
        ENV LOBTUNA_CACHE=/cache
        """
    example = """\
        # Copy to .env and fill in. Signs such as / @ : in the password would have to be escaped in the URL: avoid them.
        POSTGRES_PASSWORD=
        LOBTUNA_DATA=/path/to/lob
        """
    head = (
        f"# The study {job.study} on one Docker host: database, dashboard, workers\n"
        "#   cp env.example .env   # and fill it in\n"
        "#   (umask 077; openssl rand -base64 24 > dashboard-password)   # user lobtuna at http://localhost:8080\n"
        "#   docker compose up --build --detach\n"
    )
    return {
        folder / "compose.yaml": head + yaml.safe_dump(project(job, gpus), sort_keys=False),
        folder / "Dockerfile": dedent(dockerfile),
        folder / "env.example": dedent(example),
    }
