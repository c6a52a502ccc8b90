"""Files that let machines elsewhere join a study: Kaggle notebooks, spot GPUs, containers.

None of them holds the database's URL: each system has its own place for secrets, from which it is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from lobmodels.files import write_atomically
from search.errors import SearchError

SECRET = "LOBTUNA_STORAGE"  # name of the secret, and of the variable that the commands read


@dataclass(frozen=True)
class Job:
    """The options of every launched worker."""

    study: str
    workers: int = 1
    trials_per_gpu: int = 1
    time_limit: str | None = None
    package: str = f"lobtuna[grpc]=={version('lobtuna')}"  # what pip installs there

    @property
    def slug(self) -> str:
        """The study's name as these systems allow names: lower case, digits, dashes."""
        return re.sub(r"[^a-z0-9]+", "-", self.study.lower()).strip("-")

    def command(self, data: str) -> list[str]:
        """The worker's command line; the URL comes from the environment."""
        limit = ["--time-limit", self.time_limit] if self.time_limit else []
        per_gpu = ["--trials-per-gpu", str(self.trials_per_gpu)]
        return ["lobtuna", "work", self.study, "--data", data, "--gpus", "all", *per_gpu, *limit]


def write(files: dict[Path, str]) -> list[Path]:
    """Write generated files; one that a person may have changed is never overwritten.

    Raises `SearchError` for such a file, `OutputError` where the folder cannot be written.
    """
    for path, text in files.items():
        if path.exists() and path.read_text() != text:
            raise SearchError(f"{path} is there already and differs: move it away, or name another --output")
    for path, text in files.items():
        write_atomically(path, text)
    return list(files)
