"""Promises of `lobtuna launch` before it writes: the study exists, can be reached, and is of this version."""

from pathlib import Path

import optuna
import pytest

from lobmodels.errors import OutputError
from search.errors import SearchError, StudyNotFoundError
from search.launch.job import prepare, write
from search.launch.wheel import running_wheel
from storage.backends.registry import open_storage
from storage.errors import StorageError
from tests.machines import create, small_study


def test_a_study_of_the_database_becomes_a_job(postgres_url: str) -> None:
    """Name, definition, wheel and pins; nothing of the password."""
    create(postgres_url, small_study("joint"))
    job = prepare(postgres_url, "joint", workers=2, time_limit="8h30m")
    assert (job.study, job.spec, job.workers) == ("joint", small_study("joint"), 2)
    assert job.package.wheel.sha256 == running_wheel().sha256
    assert any(line.startswith("optuna==") for line in job.package.requirements)
    assert job.arguments("DIR") == [
        "work", "joint", "--data", "DIR", "--gpus", "all", "--runs-per-device", "auto", "--time-limit", "8h30m"
    ]  # fmt: skip
    assert "s3cr3t" not in repr(job)


def test_an_unknown_study_is_refused(postgres_url: str, tmp_path: Path) -> None:
    """Not in the database: close names are told; no database: that is told; nothing is created by the look."""
    create(postgres_url, small_study("joint"))
    with pytest.raises(StudyNotFoundError, match="joint"):
        prepare(postgres_url, "jont")
    with pytest.raises(StudyNotFoundError, match="there is no database"):
        prepare(f"sqlite:///{tmp_path / 'none.db'}", "joint", far=False)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(StorageError):
        prepare("mysql://host/db", "joint")
    optuna.create_study(study_name="foreign", storage=open_storage(postgres_url))
    with pytest.raises(SearchError, match="was not created by lobtuna"):
        prepare(postgres_url, "foreign")


def test_a_study_of_another_version_is_refused(postgres_url: str, tmp_path: Path) -> None:
    """Its workers would be refused there, hours later; so would those of a wheel of another version."""
    study = create(postgres_url, small_study("joint"))
    study.set_user_attr("lobtuna_version", "9.7.0")
    with pytest.raises(SearchError, match=r"was created by lobtuna 9\.7\.0, this is"):
        prepare(postgres_url, "joint")
    study.set_user_attr("lobtuna_version", running_wheel().version)
    other = tmp_path / "lobtuna-9.7.0-py3-none-any.whl"
    with pytest.raises(SearchError, match="there is no wheel"):
        prepare(postgres_url, "joint", wheel=other)
    from zipfile import ZipFile

    with ZipFile(other, "w") as archive:
        archive.writestr("lobtuna-9.7.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: lobtuna\nVersion: 9.7.0\n")
    with pytest.raises(SearchError, match=r"is lobtuna 9\.7\.0, study 'joint' was created by"):
        prepare(postgres_url, "joint", wheel=other)


def test_a_database_that_is_a_file_cannot_be_reached_from_afar(tmp_path: Path) -> None:
    """Kaggle cannot open a file of this machine; a project with a database of its own does not have to."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study("joint"))
    with pytest.raises(SearchError, match="a file of this machine that no other can open"):
        prepare(url, "joint")
    assert prepare(url, "joint", far=False).study == "joint"


def test_extras_follow_the_storage_and_the_artifacts(postgres_url: str) -> None:
    """A study with artifacts in a bucket needs its library there; one without does not."""
    study = create(postgres_url, small_study("joint"))
    assert not any(line.startswith(("boto3", "grpcio")) for line in prepare(postgres_url, "joint").package.requirements)
    study.set_user_attr("artifacts", "s3://bucket/prefix")
    assert any(line.startswith("boto3==") for line in prepare(postgres_url, "joint").package.requirements)


def test_a_bad_time_limit_is_refused(postgres_url: str) -> None:
    """Before anything else is looked at."""
    with pytest.raises(SearchError, match="soon"):
        prepare(postgres_url, "joint", time_limit="soon")


def test_nothing_a_person_changed_is_overwritten(tmp_path: Path) -> None:
    """Written again, equal files are fine; a changed one is an error that names it, and nothing at all is written."""
    files = {tmp_path / "a.yaml": "a: 1\n", tmp_path / "b.whl": b"\0"}
    write(files)
    write(files)
    (tmp_path / "a.yaml").write_text("a: 2\n")
    with pytest.raises(SearchError, match=r"a\.yaml is there already"):
        write({tmp_path / "new": "", **files})
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """One line that names the path."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write({tmp_path / "file" / "x": "x"})
