"""The page on a first study: its study file is valid and its commands run, in the order shown."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.docs.pages import PAGES, ROOT, blocks
from tests.forked import lobtuna_in


def test_commands_run(tmp_path: Path) -> None:
    """A reader who copies every block in order has a scored submission."""
    (study,) = re.findall(r"```yaml\n(.*?)```", PAGES["a-first-study.md"], re.DOTALL)
    (tmp_path / "first.yaml").write_text(study)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    commands = "set -eux\n" + "\n".join(blocks("a-first-study.md"))
    with lobtuna_in(tmp_path):
        done = subprocess.run(["bash", "-c", commands], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "1,500 sequences" in done.stdout
