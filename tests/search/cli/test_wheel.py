"""`lobtuna wheel`: what it prints, and what it refuses."""

import subprocess
from pathlib import Path

from typer.testing import CliRunner

from lobmodels.errors import OutputError
from search.cli import app


def test_the_command_prints_what_sha256sum_checks(tmp_path: Path) -> None:
    """Digest and path in one line of stdout; a folder that cannot be made is an error in one line."""
    done = CliRunner().invoke(app, ["wheel", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    checked = subprocess.run(["sha256sum", "--check"], input=done.stdout, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    (tmp_path / "file").touch()
    refused = CliRunner().invoke(app, ["wheel", "--output", str(tmp_path / "file" / "folder")])
    assert isinstance(refused.exception, OutputError) and "cannot be written" in str(refused.exception)
