"""The Compose project is valid, holds no password, and runs our commands."""

from pathlib import Path

import pytest
import yaml
from compose_spec import ComposeSpecification
from typer.testing import CliRunner

from search.cli import app
from search.launch import Job, compose


@pytest.mark.parametrize("gpus", [False, True])
def test_the_compose_project_is_valid(gpus: bool, tmp_path: Path) -> None:
    """The Compose specification takes it, no password is in it, and the commands are ours."""
    files = compose.files(Job("joint", workers=2), gpus, tmp_path)
    text = files[tmp_path / "compose.yaml"]
    document = yaml.safe_load(text)
    ComposeSpecification.model_validate(document)
    assert "&id" not in text
    assert document["services"]["worker"]["deploy"]["replicas"] == 2
    assert "${POSTGRES_PASSWORD:?" in document["services"]["worker"]["environment"]["LOBTUNA_STORAGE"]
    for service in ("dashboard", "worker"):
        name, *options = document["services"][service]["command"][1:]
        shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
        assert all(option in shown for option in options if option.startswith("--")), (service, options)
