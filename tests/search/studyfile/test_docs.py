"""The page on study files says what the code does, because it is written from it."""

import re
from pathlib import Path

from lobmodels.config import RunConfig
from search.studyfile.docs import page
from search.studyfile.spec import load_spec

PAGE = Path(__file__).parents[3] / "docs" / "study-file.md"


def test_the_page_is_up_to_date() -> None:
    """Run `python -m search.studyfile.docs docs/study-file.md` after a change of the spec or of a parameter."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_parameter_is_explained() -> None:
    """The page has one line for each parameter, with the description that the configuration gives it."""
    lines = page().splitlines()
    for name, field in RunConfig.model_fields.items():
        assert field.description, f"{name} has no description"
        assert sum(line.startswith(f"| `{name}` |") and field.description in line for line in lines) == 1, name


def test_the_example_of_the_page_is_a_study(tmp_path: Path) -> None:
    """What people copy from the page works."""
    example = re.search(r"```yaml\n(.*?)```", page(), re.DOTALL)
    assert example is not None
    (tmp_path / "dropout.yaml").write_text(example[1])
    spec = load_spec(tmp_path / "dropout.yaml")
    assert spec.question.startswith("Does a little dropout help") and len(spec.baselines) == 1
