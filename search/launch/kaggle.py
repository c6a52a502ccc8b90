"""A Kaggle kernel folder per worker, as the kaggle command takes it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from search.errors import SearchError
from search.launch.job import Job
from search.launch.notebook import notebook

LIMIT = "11h30m"  # a GPU session lasts twelve hours
LARGEST = 1_000_000  # bytes of a notebook that Kaggle takes

# Kaggle's names of its NVIDIA accelerators (the kaggle command, `kernels push --accelerator`), the P100 left out.
ACCELERATORS = (
    "NvidiaTeslaT4", "NvidiaTeslaT4Highmem", "NvidiaL4", "NvidiaL4X1", "NvidiaTeslaA100", "NvidiaH100",
    "NvidiaRtxPro6000",
)  # fmt: skip
P100 = "NvidiaTeslaP100"


def kernel(job: Job, number: int, user: str, dataset: str, accelerator: str, folder: Path) -> dict[Path, bytes | str]:
    """The files of worker `number` (from 1), by path. Raises `SearchError` for names that Kaggle would refuse."""
    _check(user, dataset, accelerator)
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
        "enable_internet": True,  # the database is outside, and so are the requirements
        "machine_shape": accelerator,
        "dataset_sources": [dataset],
        "competition_sources": [],
        "kernel_sources": [],
        "model_sources": [],
    }
    text = json.dumps(notebook(job), indent=1) + "\n"
    if len(text) > LARGEST:
        raise SearchError(
            f"the notebook has {len(text):,} bytes, with the wheel of {len(job.package.wheel.content):,} in it, and "
            f"Kaggle takes {LARGEST:,}: give a smaller one with --wheel"
        )
    own = folder / slug
    return {own / "kernel-metadata.json": json.dumps(metadata, indent=2) + "\n", own / f"{slug}.ipynb": text}


def _check(user: str, dataset: str, accelerator: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", user):
        raise SearchError(f"--user {user!r} is no Kaggle user name: lower-case letters, digits and dashes")
    if not re.fullmatch(r"[\w-]+/[\w-]+", dataset):
        raise SearchError(f"--dataset {dataset!r} must be OWNER/NAME, as in its address on Kaggle")
    if accelerator == P100:
        raise SearchError(
            f"--accelerator {P100}: the torch of Kaggle's image has no code for it (compute capability 6.0) and fails "
            "at the first computation; use --accelerator NvidiaTeslaT4"
        )
    if accelerator not in ACCELERATORS:
        raise SearchError(f"--accelerator {accelerator!r} is none of Kaggle's NVIDIA GPUs: {', '.join(ACCELERATORS)}")


def push(folders: list[Path]) -> None:
    """Start the kernels with the kaggle command. Raises `SearchError` where it is missing or fails."""
    if shutil.which("kaggle") is None:
        raise SearchError("--push needs the kaggle command: pip install kaggle, and its API token; or push by hand")
    for folder in folders:
        done = subprocess.run(["kaggle", "kernels", "push", "-p", str(folder)], capture_output=True, text=True)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise SearchError(f"kaggle kernels push -p {folder} failed: {lines[-1] if lines else 'no reason given'}")
