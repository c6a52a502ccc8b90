"""What launched workers need: the name of an existing study, how long to work, and the lobtuna to install."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna

from lobmodels.files import write_atomically
from search.errors import SearchError
from search.launch.install import SECRET
from search.launch.package import Package, make_package
from search.launch.wheel import Wheel
from search.study.open import open_study, spec_of
from search.study.record import VERSION
from search.studyfile.spec import StudySpec
from search.work.options import parse_runs_per_device
from search.work.session import require_version
from search.work.stopping import parse_duration
from storage.backends.registry import parse_url
from storage.store import ARTIFACTS
from storage.url import StorageUrl

__all__ = ["SECRET", "Job", "prepare", "write"]


@dataclass(frozen=True)
class Job:
    """The workers of one study on machines elsewhere."""

    spec: StudySpec
    package: Package
    workers: int = 1
    runs_per_device: str = "auto"
    time_limit: str | None = None

    @property
    def study(self) -> str:
        """The study's name in its database."""
        return self.spec.name

    @property
    def slug(self) -> str:
        """The study's name as these systems allow names: lower case, digits, dashes."""
        return re.sub(r"[^a-z0-9]+", "-", self.study.lower()).strip("-")

    def arguments(self, data: str) -> list[str]:
        """The worker's command line after `lobtuna`; the URL comes from the environment."""
        limit = ["--time-limit", self.time_limit] if self.time_limit else []
        at_once = ["--runs-per-device", self.runs_per_device]
        return ["work", self.study, "--data", data, "--gpus", "all", *at_once, *limit]


def prepare(
    url: str,
    study: str,
    *,
    workers: int = 1,
    runs_per_device: str = "auto",
    time_limit: str | None = None,
    wheel: Path | None = None,
    far: bool = True,
) -> Job:
    """Look the study up in the database `url` and pack what its workers need.

    `far` workers are on other machines and must reach that database. Raises `SearchError` for an unknown study, one of
    another version of lobtuna, a database file where other machines must reach the database, a bad duration, number
    of runs or wheel.
    """
    parse_runs_per_device(runs_per_device)
    if time_limit is not None:
        parse_duration(time_limit)
    found = open_study(url, study)
    require_version(found)
    where = parse_url(url)
    if far and where.path is not None:
        raise SearchError(
            f"study {study!r} is in {url}, a file of this machine that no other can open: create it in a PostgreSQL "
            "that they reach, and launch with --storage postgresql://..."
        )
    package = make_package(_extras(where, found.user_attrs.get(ARTIFACTS)), wheel)
    _require_same(package.wheel, found, wheel)
    return Job(spec_of(found).model_copy(update={"name": study}), package, workers, runs_per_device, time_limit)


def _extras(where: StorageUrl, artifacts: str | None) -> set[str]:
    """The optional parts of lobtuna that this storage and these artifacts need."""
    scheme = (artifacts or "").partition("://")[0]
    return ({"grpc"} if where.host else set()) | ({scheme} & {"s3", "gs"})  # only a proxy's URL is read for its host


def _require_same(wheel: Wheel, study: optuna.Study, path: Path | None) -> None:
    """Raise `SearchError` where workers of this wheel would refuse the study, as `require_version` does for ours."""
    made = str(study.user_attrs.get(VERSION, wheel.version))
    if wheel.version.split(".")[:2] != made.split(".")[:2]:
        raise SearchError(
            f"{path} is lobtuna {wheel.version}, study {study.study_name!r} was created by {made}, and its workers "
            f"would refuse to begin: give a wheel of lobtuna {made}"
        )


def write(files: Mapping[Path, bytes | str], *, replace: bool = False) -> list[Path]:
    """Write generated files; one that a person may have changed is not overwritten unless `replace` says so.

    Raises `SearchError` for such a file, before anything is written, and `OutputError` where the folder takes none.
    """
    contents = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    for path, content in contents.items():
        if not replace and path.is_file() and path.read_bytes() != content:
            raise SearchError(f"{path} is there already and differs: move it away, or name another --output")
    for path, content in contents.items():
        write_atomically(path, content)
    return list(files)
