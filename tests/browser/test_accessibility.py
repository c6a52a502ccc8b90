"""Our pages are free of serious findings of axe-core, on a wide and on a narrow window."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage

from lobmodels.data import Dataset
from lobmodels.profile import profile_dataset
from search.profile import write_profile
from search.report import write_report
from search.report.compare import compare
from search.report.write import write_comparison
from search.studyfile.spec import StudySpec
from tests.browser.conftest import WIDE
from tests.made_study import SPEC, make_study

SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def pages(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report with replicates, a comparison, a data profile."""
    folder, storage = tmp_path_factory.mktemp("pages"), InMemoryStorage()
    study = make_study(storage, 120, replicates=(4, 3))
    other = make_study(storage, 40, seed=3, spec=StudySpec.from_json(SPEC.to_json() | {"name": "wide"}))
    return {
        "report": write_report(study, folder / "report", against=[other]),
        "comparison": write_comparison(compare([study, other]), folder / "compared"),
        "profile": write_profile(profile_dataset(small_dataset), folder / "profile")[0],
    }


@pytest.mark.parametrize("width", [WIDE, 400])
@pytest.mark.parametrize("name", ["report", "comparison", "profile"])
def test_axe_finds_nothing_serious(chromium: Any, pages: dict[str, Path], name: str, width: int) -> None:
    """No element of the page fails a rule of axe-core whose impact is serious or critical."""
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    # The page's policy lets no script run but its own: axe is let in by the browser, not by the page.
    context = chromium.new_context(viewport={"width": width, "height": 1000}, bypass_csp=True)
    page = context.new_page()
    page.goto(pages[name].as_uri())
    page.evaluate("dispatchEvent(new Event('beforeprint'))")  # draws every figure
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    context.close()
    assert [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] in SERIOUS] == []
