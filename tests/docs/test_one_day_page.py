"""The plan for one day runs as it stands, with networks that take seconds."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from search.cli import main
from tests.docs.pages import PAGES, blocks, commands

STUDY = """
name: day
parameters:
  hidden_size: {choices: [4, 8]}
  lr: {float: [1e-3, 2e-2], log: true}
  num_layers: 1
  batch_size: 8
  epochs: 1
pruner: {name: none}
budget: {trials: 3}
validation: {folds: 2}
"""


@pytest.mark.soak  # twenty commands, three of which verify a zip step by step
@pytest.mark.timeout(1200)
def test_the_plan_runs(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command in its order; the numbers of configurations are those of a small study."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "day.yaml").write_text(STUDY)
    for line in [line for block in blocks("one-day.md") for line in commands(block)]:
        line = line.replace("~/lob", str(small_data)).replace("--top 8", "--top 2").replace("--top 5", "--top 2")
        words = shlex.split(line.replace("--seeds 4", "--seeds 1").replace("--configurations 5", "--configurations 2"))
        device = ["--device", "cpu"] if words[1] == "work" else []
        with pytest.raises(SystemExit) as stop:
            main([*words[1:], *device])
        assert stop.value.code in (None, 0), line
    assert {path.name for path in tmp_path.glob("*.zip")} == {"folds.zip", "refit.zip", "last.zip"}


def test_the_page_names_what_a_study_file_says() -> None:
    """The two ways to split are keys of the file."""
    from search.studyfile.validation import ValidationSpec

    for name in ("folds", "walk_forward", "gap"):
        assert name in ValidationSpec.model_fields and name in PAGES["one-day.md"]
