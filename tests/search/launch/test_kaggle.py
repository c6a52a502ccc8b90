"""Promises of `lobtuna launch kaggle`: folders that Kaggle takes, without a secret, pushed by its own command."""

import json
import os
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from search.cli import app
from search.errors import SearchError
from search.launch import kaggle
from tests.machines import create, small_study
from tests.search.launch.jobs import job


def test_folders_are_what_its_command_takes(postgres_url: str, tmp_path: Path) -> None:
    """One folder a worker, its metadata with the fields and the slug that Kaggle wants; it fits and has no secret."""
    create(postgres_url, small_study("joint").model_copy(update={"name": "joint@2"}))
    arguments = ["launch", "kaggle", "joint@2", "--user", "me", "--dataset", "me/lob", "--workers", "2"]
    environment = {"LOBTUNA_STORAGE": postgres_url}
    done = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path)], env=environment)
    assert done.exit_code == 0, done.output
    assert "tick LOBTUNA_STORAGE, choose GPU T4 x2" in done.stderr
    for number in (1, 2):
        folder = tmp_path / f"lobtuna-joint-2-{number}"
        metadata = json.loads((folder / "kernel-metadata.json").read_text())
        assert metadata["id"] == f"me/{metadata['title']}" == f"me/lobtuna-joint-2-{number}"
        assert metadata["dataset_sources"] == ["me/lob"]
        assert (metadata["is_private"], metadata["enable_internet"], metadata["enable_gpu"]) == (True, True, True)
        text = (folder / metadata["code_file"]).read_text()
        nbformat.validate(nbformat.reads(text, as_version=4))
        assert "s3cr3t" not in text and "127.0.0.1" not in text
        assert len(text) < 0.6 * kaggle.LARGEST, "little room is left for lobtuna to grow: bring it as a data set"
        assert "torch==" not in text and "pip install lobtuna" not in text
        assert "numpy==" in text


def test_names_it_would_not_take_are_refused(tmp_path: Path) -> None:
    """User, data set and accelerator are checked before anything is written; the P100 with its reason."""
    for user, dataset, accelerator, said in (
        ("Me!", "me/lob", "NvidiaTeslaT4", "user name"),
        ("me", "lob", "NvidiaTeslaT4", "OWNER/NAME"),
        (
            "me",
            "me/lob",
            "NvidiaTeslaP100",
            r"no code for it \(compute capability 6.0\).*use --accelerator NvidiaTeslaT4",
        ),
        ("me", "me/lob", "TpuV6E8", "none of Kaggle's NVIDIA GPUs: NvidiaTeslaT4"),
    ):
        with pytest.raises(SearchError, match=said):
            kaggle.kernel(job(), 1, user, dataset, accelerator, tmp_path)


def test_a_wheel_too_large_for_a_notebook_is_refused(tmp_path: Path) -> None:
    """Kaggle takes notebooks up to a size: told here, not by the push."""
    large = job()
    wheel = replace(large.package.wheel, content=os.urandom(960_000))
    wheel.__dict__["metadata"] = large.package.wheel.metadata
    large = replace(large, package=replace(large.package, wheel=wheel))
    with pytest.raises(SearchError, match=r"the notebook has 1,2.* bytes, with the wheel of 960,000 in it"):
        kaggle.kernel(large, 1, "me", "me/lob", "NvidiaL4", tmp_path)


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
