"""Loads study files written by a test."""

from pathlib import Path

import pytest

from search.errors import SpecError
from search.studyfile.spec import StudySpec, load_spec


@pytest.fixture
def load(tmp_path: Path):
    """Writes a text to a study file and loads it."""

    def load(text: str) -> StudySpec:
        (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
        return load_spec(tmp_path / "study.yaml")

    return load


@pytest.fixture
def problems(load):
    """The problems that a text is refused for."""

    def problems(text: str) -> list[str]:
        with pytest.raises(SpecError) as caught:
            load(text)
        return caught.value.problems

    return problems
