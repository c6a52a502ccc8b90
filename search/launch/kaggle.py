"""A Kaggle kernel folder per worker: a notebook that installs, reads the secret, finds the data, works to the limit."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Any

from search.errors import SearchError
from search.launch import SECRET, Job

INPUT = "/kaggle/input"
LIMIT = "11h30m"  # a GPU session lasts twelve hours


def kernel(job: Job, number: int, user: str, dataset: str, accelerator: str, folder: Path) -> dict[Path, str]:
    """The files of worker `number` (from 1), by path. Raises `SearchError` for names that Kaggle would refuse."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", user):
        raise SearchError(f"--user {user!r} is no Kaggle user name: lower-case letters, digits and dashes")
    if not re.fullmatch(r"[\w-]+/[\w-]+", dataset):
        raise SearchError(f"--dataset {dataset!r} must be OWNER/NAME, as in its address on Kaggle")
    slug = f"lobtuna-{job.slug}-{number}"
    metadata = {
        "id": f"{user}/{slug}",
        "title": slug,
        "code_file": f"{slug}.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_tpu": False,
        "enable_internet": True,  # the database is outside
        "machine_shape": accelerator,
        "dataset_sources": [dataset],
        "competition_sources": [],
        "kernel_sources": [],
        "model_sources": [],
    }
    own = folder / slug
    return {
        own / "kernel-metadata.json": json.dumps(metadata, indent=2) + "\n",
        own / f"{slug}.ipynb": json.dumps(notebook(job), indent=1) + "\n",
    }


def notebook(job: Job, input_folder: str = INPUT) -> dict[str, Any]:
    """The worker's notebook in nbformat 4."""
    intro = f"""
        # A worker of the study `{job.study}`
        Attach the secret `{SECRET}` (Add-ons, Secrets) and the data set, then run all. When the time limit comes,
        the trial at hand goes back to the queue with its last epoch, and another worker goes on with it.
        """
    install = f"""
        import subprocess, sys
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", {job.package!r}], check=True)
        """
    secret = f"""
        import os
        from kaggle_secrets import UserSecretsClient
        os.environ[{SECRET!r}] = UserSecretsClient().get_secret({SECRET!r})
        """
    data = f"""
        from pathlib import Path
        found = [p.parent for p in sorted(Path({input_folder!r}).rglob("train.parquet"))
                 if (p.parent / "valid.parquet").is_file()]
        assert found, "no folder with train.parquet and valid.parquet under {input_folder}: add the data set"
        data = str(found[0])
        data
        """
    command = json.dumps(job.command("DATA")).replace('"DATA"', "data")
    run = f"""
        import shutil
        command = {command}
        if shutil.which("nvidia-smi") is None:  # a session without a GPU works too, one thread a slot
            first = command.index("--gpus")
            command[first:first + 4] = ["--slots", str(os.cpu_count() or 1)]
        worker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in worker.stderr:
            print(line, end="", flush=True)
        assert worker.wait() == 0, "the worker ended early; its last lines say why"
        """
    cells = [_cell("markdown", intro, 0)]
    cells += [_cell("code", source, i) for i, source in enumerate((install, secret, data, run), 1)]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernelspec}, "nbformat": 4, "nbformat_minor": 5}


def push(folders: list[Path]) -> None:
    """Start the kernels with the kaggle command. Raises `SearchError` where it is missing or fails."""
    if shutil.which("kaggle") is None:
        raise SearchError("--push needs the kaggle command: pip install kaggle, and its API token; or push by hand")
    for folder in folders:
        done = subprocess.run(["kaggle", "kernels", "push", "-p", str(folder)], capture_output=True, text=True)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise SearchError(f"kaggle kernels push -p {folder} failed: {lines[-1] if lines else 'no reason given'}")


def _cell(kind: str, source: str, number: int) -> dict[str, Any]:
    text = dedent(source).strip("\n")
    cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})
