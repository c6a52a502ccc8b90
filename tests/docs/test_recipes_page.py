"""The page on recipes names every recipe, in lines that a study file takes."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from lobmodels.config import LATER, RunConfig
from search.studyfile.spec import load_spec
from tests.docs.pages import PAGES

PAGE = PAGES["recipes.md"]
(SPACE,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_space_is_a_study_file(tmp_path: Path) -> None:
    """The block of searched parameters loads as it stands, and searches everything that came later."""
    path = tmp_path / "study.yaml"
    path.write_text(f"name: recipes\nparameters:\n{SPACE}", encoding="utf-8")
    later = {name for name, field in RunConfig.model_fields.items() if LATER in field.metadata}
    assert {name for name in later if f"`{name}" in PAGE} <= set(load_spec(path).searched())


def test_each_line_of_the_table_is_a_recipe() -> None:
    """Every line that the table shows is accepted, and switches something on."""
    lines = re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE)
    assert len(lines) >= 8
    for line in lines:
        values = yaml.safe_load("\n".join(re.findall(r"`([^`]*)`", line)))
        assert RunConfig.parse(values).key() != RunConfig.parse({}).key(), line
