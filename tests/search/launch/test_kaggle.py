"""The Kaggle notebooks run, are what Kaggle's command takes, and hold no secret."""

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from optuna.trial import TrialState
from typer.testing import CliRunner

from search.cli import app
from search.errors import SearchError
from search.launch import Job, kaggle
from tests.machines import assert_sound, create, small_study, trials


def test_the_kaggle_notebook_runs_headless(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executed from top to bottom with a stub of Kaggle's secrets, the notebook installs, finds the data and works."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study(trials=2, epochs=1))
    (tmp_path / "kaggle_secrets.py").write_text(
        "class UserSecretsClient:\n"
        "    def get_secret(self, name):\n"
        f"        return {{'LOBTUNA_STORAGE': {url!r}}}[name]\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(__file__).parents[3]}")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    document = kaggle.notebook(Job("small", time_limit="10m"), input_folder=str(small_data.parent))
    notebook = nbformat.from_dict(document)
    nbformat.validate(notebook)
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "stream"
    )
    assert "small #0  complete" in printed
    assert [trial.state for trial in trials(url)] == [TrialState.COMPLETE] * 2
    assert_sound(url)


def test_kaggle_folders_are_what_its_command_takes(tmp_path: Path) -> None:
    """One folder a worker, its metadata with the fields and the slug that Kaggle wants."""
    arguments = ["launch", "kaggle", "joint@2", "--user", "me", "--dataset", "me/lob", "--workers", "2"]
    done = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    for number in (1, 2):
        folder = tmp_path / f"lobtuna-joint-2-{number}"
        metadata = json.loads((folder / "kernel-metadata.json").read_text())
        assert metadata["id"] == f"me/{metadata['title']}" == f"me/lobtuna-joint-2-{number}"
        assert metadata["dataset_sources"] == ["me/lob"]
        assert (metadata["is_private"], metadata["enable_internet"], metadata["enable_gpu"]) == (True, True, True)
        notebook = (folder / metadata["code_file"]).read_text()
        nbformat.validate(nbformat.reads(notebook, as_version=4))
        assert "postgres" not in notebook


def test_kaggle_refuses_names_it_would_not_take(tmp_path: Path) -> None:
    """User and data set are checked before anything is written."""
    job = Job("joint")
    with pytest.raises(SearchError, match="user name"):
        kaggle.kernel(job, 1, "Me!", "me/lob", "NvidiaTeslaT4", tmp_path)
    with pytest.raises(SearchError, match="OWNER/NAME"):
        kaggle.kernel(job, 1, "me", "lob", "NvidiaTeslaT4", tmp_path)


def test_push_without_the_kaggle_command_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--push` needs the command and says so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SearchError, match="pip install kaggle"):
        kaggle.push([tmp_path])


def test_push_calls_the_kaggle_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is given each folder; its refusal is passed on in one line."""
    command = tmp_path / "kaggle"
    command.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/called\ncase "$4" in *bad) echo no quota >&2; exit 1;; esac\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    kaggle.push([tmp_path / "good"])
    assert (tmp_path / "called").read_text() == f"kernels push -p {tmp_path}/good\n"
    with pytest.raises(SearchError, match="no quota"):
        kaggle.push([tmp_path / "bad"])
