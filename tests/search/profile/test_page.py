"""The page of a data profile says everything without a network, explains every figure, and escapes every name."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lobmodels.data import Dataset, load_dataset
from lobmodels.data.synthetic import write_dataset
from lobmodels.errors import OutputError
from lobmodels.profile import Profile, profile_dataset, tables
from lobmodels.profile.chunks import all_feature_names
from lobmodels.profile.importance import RunProfile
from lobmodels.schema import LOB
from search.profile import write_profile
from search.profile.page import page
from search.report.page import render

FIGURES = 13


@pytest.fixture(scope="module")
def profile(small_dataset: Dataset) -> Profile:
    """Profile of the small set, with a run whose name is markup."""
    found = profile_dataset(small_dataset)
    scores = found.ridges.scores[0].valid
    return replace(
        found,
        train=replace(found.train, path=Path("<img src=x onerror=alert(1)>") / "train.parquet"),
        run=RunProfile("<b>study</b>#3", "reporting <sequences>", 3, scores, found.ridges.importance["raw columns"]),
    )


def test_files(profile: Profile, tmp_path: Path) -> None:
    """Every table is a CSV file whose numbers read back unrounded; a second time is no error; nothing else is left."""
    paths = write_profile(profile, tmp_path / "new" / "folder")
    found = tables(profile)
    assert [path.name for path in paths] == ["profile.html", *(f"{name}.csv" for name in found)]
    with (paths[0].parent / "columns.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["column"] for line in lines] == list(all_feature_names(LOB))
    for line, column in zip(lines, profile.columns, strict=True):
        assert float(line["ks"]) == column.ks
        assert float(line["weighted_valid_t1"]) == column.weighted_valid[1]
    assert write_profile(profile, tmp_path / "new" / "folder") == paths
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(path.name for path in paths)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_profile(profile, tmp_path / "file")


def test_every_figure_and_section_is_explained(profile: Profile) -> None:
    """Each figure has a sentence of its own, each section a text, each topic its finding on top of the page."""
    document = page(profile)
    figures = [figure for section in document.sections for figure in section.figures]
    assert len(figures) == FIGURES + 1  # and that of the run
    assert all(figure.text.endswith(".") and len(figure.text) > 30 for figure in figures)
    assert all(section.text.endswith(".") for section in document.sections)
    assert len({section.key for section in document.sections}) == len(document.sections) == 10
    without = {section.key for section in document.sections if not section.finding}
    assert without == {"scale", "importance"}
    assert {name for name, _ in document.downloads} == {f"{name}.csv" for name in tables(profile)}


def test_page_is_self_contained_and_escaped(profile: Profile) -> None:
    """No address is loaded from elsewhere; a folder or a run whose name holds markup is shown as text."""
    html = render(page(profile))
    outside = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert "http:" not in outside and "https:" not in outside
    assert not re.search(r"<(link|img|iframe)\b", outside) and not re.search(r"<script[^>]+src=", html)
    assert "&lt;img src=x onerror=alert(1)&gt;" in outside
    assert "<b>study" not in html and "&lt;b&gt;study&lt;/b&gt;#3" in outside
    assert "<sequences>" not in html


def test_small_and_flat_sets(tmp_path: Path) -> None:
    """Two sequences a file, and a column that never moves, still make a page."""
    write_dataset(tmp_path / "data", train=2, valid=2)
    data = load_dataset(tmp_path / "data")
    train, valid = (np.array(part.features) for part in (data.train, data.valid))
    train[:, :, 30] = valid[:, :, 30] = 0.0
    flat = Dataset(replace(data.train, features=train), replace(data.valid, features=valid), "flat")
    text = write_profile(profile_dataset(flat), tmp_path / "page")[0].read_text()
    assert "too few to ask a classifier" in text
