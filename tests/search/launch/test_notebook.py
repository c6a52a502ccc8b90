"""Promises of the notebook of `lobtuna launch kaggle`: run headless, it installs, looks at the GPU and works."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from optuna.trial import TrialState
from typer.testing import CliRunner

from search.cli import app
from search.launch.notebook import notebook
from tests.environments import Environment, from_the_index
from tests.machines import assert_sound, create, small_study, trials
from tests.search.launch.jobs import job

NO_NUMBA = "raise ImportError('this image has none')\n"  # torch trains: kernels of a new folder take long to compile
SECRETS = """\
import os
os.cpu_count = lambda: 1  # so many slots
class UserSecretsClient:
    def get_secret(self, name):
        return {{"LOBTUNA_STORAGE": {url!r}}}[name]
"""


def execute(document: dict[str, Any] | str, folder: Path, kernel: str = "python3", timeout: int = 800) -> str:
    """Run all cells with the working folder `folder`; returns what they printed. Raises `CellExecutionError`."""
    found = nbformat.reads(document if isinstance(document, str) else json.dumps(document), as_version=4)
    nbformat.validate(found)
    NotebookClient(found, timeout=timeout, kernel_name=kernel, resources={"metadata": {"path": str(folder)}}).execute()
    printed = [output for cell in found.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in printed if output.output_type == "stream")


@pytest.fixture
def image(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Kaggle's image has beside Python: the module of its secrets, a folder of the session. No GPU."""
    stub = tmp_path / "kaggle"
    stub.mkdir()
    (stub / "kaggle_secrets.py").write_text(SECRETS.format(url=postgres_url))
    session = tmp_path / "session"
    session.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(stub))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    return session


@pytest.fixture
def inputs(small_data: Path, tmp_path: Path) -> Path:
    """The folder of a session's data sets, with one in it."""
    shutil.copytree(small_data, tmp_path / "input" / "lob")
    return tmp_path / "input"


def test_the_notebook_runs_headless(image: Path, postgres_url: str, inputs: Path, tmp_path: Path) -> None:
    """It installs its own wheel, reads the secret, finds the data and works to the end of the study."""
    create(postgres_url, small_study(trials=2, epochs=1))
    packages = tmp_path / "packages"
    document = notebook(job("small", time_limit="10m"), str(inputs), str(packages))
    (tmp_path / "kaggle" / "numba.py").write_text(NO_NUMBA)
    assert "small #0  complete" in execute(document, image)
    assert [trial.state for trial in trials(postgres_url)] == [TrialState.COMPLETE] * 2
    assert_sound(postgres_url)
    assert list(packages.glob("search/work/__pycache__/worker*.pyc")), "the worker ran other code than the wheel's"


def run_cells(document: dict[str, Any], *numbers: int) -> None:
    """Run these cells one after another in this process: Jupyter takes seconds to start."""
    names: dict[str, Any] = {"subprocess": subprocess, "Path": Path}
    for number in numbers:
        exec(compile(document["cells"][number]["source"], f"cell {number}", "exec"), names)


def test_a_notebook_whose_wheel_was_exchanged_installs_nothing(inputs: Path, tmp_path: Path) -> None:
    """Other bytes under the same digest end the notebook before pip runs."""
    packages = tmp_path / "packages"
    small = job("small")
    document = notebook(small, str(inputs), str(packages))
    document["cells"][2]["source"] = document["cells"][2]["source"].replace(small.package.wheel.sha256, "0" * 64)
    with pytest.raises(Exception, match=r"has SHA-256 .* it was damaged or exchanged"):
        run_cells(document, 1, 2)
    assert not packages.exists()


def test_of_several_data_sets_the_first_is_taken_and_said(
    inputs: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A session may have the competition's data and one's own: which is used is printed."""
    shutil.copytree(small_data, inputs / "own")
    run_cells(notebook(job("small"), str(inputs)), 4)
    assert capsys.readouterr().out.splitlines() == [f"2 data sets; this is used: {inputs / 'lob'}"]


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("Tesla P100-PCIE-16GB, 6.0", "the image's torch is built for compute capability 7.0 and newer"),
        ("Tesla T4, 7.5", "one T4: Settings, Accelerator, GPU T4 x2 gives two"),
        ("Tesla T4, 7.5\nTesla T4, 7.5", ""),
    ],
)
def test_the_gpus_are_looked_at_before_the_work(
    listed: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A P100 ends the notebook with the reason and what to choose; a single T4 is told of the second."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\nprintf '%s\\n' {json.dumps(listed)}\n".replace("\\n", "\n"))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    document = notebook(job("small"))
    if "P100" in listed:
        with pytest.raises(AssertionError, match=said):
            run_cells(document, 5)
    else:
        run_cells(document, 5)
        printed = capsys.readouterr().out
        assert said in printed and bool(said) == bool(printed)


def kernel_of(made: Environment, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a Jupyter kernel that runs in this environment, registered for this test."""
    spec = folder / "jupyter" / "kernels" / "image"
    spec.mkdir(parents=True)
    argv = [made.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "image", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
    assert "image" in KernelSpecManager().find_kernel_specs()
    return "image"


@pytest.mark.soak
@pytest.mark.timeout(2400)
def test_a_clean_machine_joins_a_study_through_the_notebook(
    image: Path, postgres_url: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of torch and Jupyter alone, no checkout: the notebook installs from the index and ends a trial."""
    create(postgres_url, small_study("joint", trials=1, epochs=1))
    made = from_the_index(tmp_path / "image", "torch", "ipykernel")
    frozen = made.run(made.python, "-m", "pip", "freeze", cwd=tmp_path).stdout
    assert "optuna" not in frozen and "lobtuna" not in frozen
    arguments = ["launch", "kaggle", "joint", "--user", "me", "--dataset", "me/lob", "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments, env={"LOBTUNA_STORAGE": postgres_url})
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "lobtuna-joint-1" / "lobtuna-joint-1.ipynb").read_text()
    text = text.replace("/kaggle/input", str(inputs)).replace("/kaggle/tmp", str(tmp_path / "tmp"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    printed = execute(text, image, kernel_of(made, tmp_path, monkeypatch), timeout=1200)
    assert "joint #0  complete" in printed
    assert [trial.state for trial in trials(postgres_url, "joint")] == [TrialState.COMPLETE]
    assert_sound(postgres_url, "joint")
    after = subprocess.run([made.python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    assert after == frozen, "the image's own packages changed"
