"""Promises of a preview: configurations of the space itself, the same each time, without a database."""

from pathlib import Path

import pytest

from lobmodels.errors import ConfigError
from search.errors import SearchError
from search.study import preview
from search.study.preview import sample_configurations
from search.studyfile.space import to_params
from search.studyfile.spec import load_spec
from tests.environments import ROOT
from tests.machines import small_study


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_drawn_is_in_the_space(path: Path) -> None:
    """Each drawn configuration could be a baseline of the study; drawn again, it is the same."""
    spec = load_spec(path)
    drawn = sample_configurations(spec)
    assert len(drawn) == 3
    for config in drawn:
        to_params(spec, config)
    assert drawn == sample_configurations(spec)
    if len(spec.searched()) > 2:
        assert len({config.key() for config in drawn}) > 1


def test_what_cannot_be_run_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that contradicts itself is shown with the reason: its trial would fail."""

    def refuse(*_: object) -> None:
        raise ConfigError("heads do not divide the width")

    monkeypatch.setattr(preview, "suggest", refuse)
    with pytest.raises(SearchError, match="cannot be run: heads do not divide the width"):
        sample_configurations(small_study())
