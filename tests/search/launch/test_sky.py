"""Promises of `lobtuna launch sky`: SkyPilot takes the task, its secret is required, and its setup works."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from search.cli import app
from search.errors import SearchError
from search.launch import sky
from search.launch.job import prepare
from tests.environments import beside_the_tests
from tests.machines import create, small_study
from tests.search.launch.jobs import job


def test_the_task_is_valid(tmp_path: Path) -> None:
    """Spot, recovered, its secret required and not written down, the package beside it."""
    files = sky.files(job(workers=3), "s3://bucket/lob", "T4:1", tmp_path)
    text = str(files[tmp_path / "lobtuna-joint.sky.yaml"])
    document = yaml.safe_load(text)
    assert document["resources"]["use_spot"] is True
    assert document["secrets"] == {"LOBTUNA_STORAGE": None}
    assert document["run"].startswith('"$HOME/lobtuna/bin/lobtuna" work joint --data /data/lob --gpus all')
    assert document["file_mounts"][sky.PACKAGE] == str(tmp_path / "package")
    assert {path.name for path in files if path.parent == tmp_path / "package"} == {
        job().package.wheel.name, "requirements.txt", "install.py"
    }  # fmt: skip
    with pytest.raises(SearchError, match="neither a folder nor a bucket"):
        sky.files(job(), str(tmp_path / "nowhere"), "T4:1", tmp_path)


def test_the_task_passes_skypilots_own_schema(tmp_path: Path) -> None:
    """The validator that SkyPilot ships takes the task."""
    schemas = pytest.importorskip("sky.utils.schemas", reason="SkyPilot is not installed here")
    import jsonschema

    document = sky.task(job(), "s3://bucket/lob", "T4:1", tmp_path)
    jsonschema.validate(document, schemas.get_task_schema())
    jsonschema.validate(document["resources"], schemas.get_resources_schema())


@pytest.mark.soak
def test_setup_and_run_work(postgres_url: str, small_data: Path, tmp_path: Path) -> None:
    """Written by the command, then its shell run by bash where the mounts lie: setup installs, run finishes a trial."""
    create(postgres_url, small_study("joint", trials=1, epochs=1))
    arguments = ["launch", "sky", "joint", "--data", str(small_data), "--output", str(tmp_path / "sky")]
    done = CliRunner().invoke(app, arguments, env={"LOBTUNA_STORAGE": postgres_url})
    assert done.exit_code == 0, done.output
    document = yaml.safe_load((tmp_path / "sky" / "lobtuna-joint.sky.yaml").read_text())
    home = tmp_path / "home"
    (home / ".local" / "bin").mkdir(parents=True)
    made = beside_the_tests(home / "lobtuna")  # in the place of `uv venv`, with the requirements already in it
    shell = document["setup"] + document["run"].replace("--gpus all --runs-per-device auto", "--slots 1")
    for place, source in document["file_mounts"].items():
        shell = shell.replace(place, source)
    done2 = made.run("bash", "-c", shell, cwd=tmp_path, HOME=str(home), LOBTUNA_STORAGE=postgres_url)
    assert "joint #0  complete" in done2.stderr
    assert "s3cr3t" not in (tmp_path / "sky" / "lobtuna-joint.sky.yaml").read_text()


def test_a_machine_without_the_environment_gets_one_from_uv(postgres_url: str, tmp_path: Path) -> None:
    """SkyPilot brings uv into ~/.local/bin; it is asked for the Python that the requirements were pinned on."""
    create(postgres_url, small_study("joint"))
    setup = sky.task(prepare(postgres_url, "joint"), "s3://bucket/lob", "T4:1", tmp_path)["setup"]
    home = tmp_path / "home"
    (home / ".local" / "bin").mkdir(parents=True)
    uv = home / ".local" / "bin" / "uv"
    uv.write_text(f'#!/bin/sh\necho "$@" > {shlex.quote(str(home / "asked"))}\nexit 7\n')
    uv.chmod(0o755)
    ended = subprocess.run(["bash", "-c", setup], env={**os.environ, "HOME": str(home)}, capture_output=True)
    assert ended.returncode == 7  # what fails ends the setup
    wanted = f"venv --seed --python {sys.version_info.major}.{sys.version_info.minor} {home}/lobtuna\n"
    assert (home / "asked").read_text() == wanted
