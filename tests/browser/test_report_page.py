"""The report in a browser, with the network off."""

from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage

from search.report import write_report
from search.studyfile.spec import StudySpec
from tests.browser.conftest import WIDE, Visit
from tests.browser.rendered import check_axes, read_figures
from tests.made_study import SPEC, make_study

MARKS = ".trace, .point, .hm, .heatmaplayer image"
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script><b>bold</b>"


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a study with replicates whose question, workers, reasons and values are hostile."""
    document = SPEC.to_json() | {"question": EVIL}
    study = make_study(InMemoryStorage(), 120, spec=StudySpec.from_json(document), replicates=(4, 3))
    for trial in study._storage.get_all_trials(study._study_id, deepcopy=False):
        trial.user_attrs["device"] = EVIL
        if trial.number % 3 == 0:
            trial.user_attrs |= {"worker": f"{EVIL}:1", "reason": EVIL}
        if trial.number % 7 == 0:
            trial.user_attrs["configuration"] = {**trial.user_attrs["configuration"], "loss": EVIL}
    return write_report(study, tmp_path_factory.mktemp("report"))


@pytest.mark.parametrize("width", [WIDE, 400])
def test_every_figure_is_drawn_without_a_network(visit: Callable[..., Visit], page_path: Path, width: int) -> None:
    """Offline, on a wide and on a narrow window: all figures drawn, no console error, nothing wider than the window."""
    found = visit(page_path.as_uri(), width, offline=True)
    found.scroll_through()
    found.page.wait_for_function(
        f"() => [...document.querySelectorAll('.plot')].every(p => p.querySelector('{MARKS}'))"
    )
    figures = found.page.evaluate("""() => [...document.querySelectorAll('.plot')].map(p => {
        const box = p.querySelector('.main-svg').getBoundingClientRect();
        return {id: p.id, width: box.width, height: box.height};
    })""")
    assert len(figures) > 20
    for figure in figures:
        assert figure["width"] > 250, figure
        assert figure["height"] > 60, figure
    check_axes(read_figures(found))
    assert found.errors == []
    assert found.overflow() <= 0
    assert all(url.startswith(("file://", "data:", "blob:")) for url in found.requests), found.requests


def test_hostile_names_are_text(visit: Callable[..., Visit], page_path: Path) -> None:
    """Markup in names is read, not run: no dialog, no element of it, and the question stands there as written."""
    found = visit(page_path.as_uri(), offline=True)
    found.scroll_through()
    assert found.dialogs == []
    assert found.page.locator("header .question").inner_text() == EVIL
    assert found.page.locator("img").count() == 0
    assert found.page.locator("main b").count() == 0
    labels = found.page.evaluate("[...document.querySelectorAll('.plot text')].map(t => t.textContent).join(' ')")
    assert "<img src=x" in labels  # a worker's name on an axis, as text
    assert found.page.evaluate("document.querySelectorAll('.plot tspan[style*=bold]').length") == 0


def test_contents_and_printing(visit: Callable[..., Visit], page_path: Path) -> None:
    """Each entry of the contents brings its section to the top; printing draws what was never scrolled to."""
    found = visit(page_path.as_uri(), offline=True)
    for key in ("seeds", "failures"):
        found.page.click(f'nav a[href="#{key}"]')
        found.page.wait_for_function(
            f"() => Math.abs(document.getElementById('{key}').getBoundingClientRect().top) < 300", timeout=240_000
        )
    found.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    drawn = found.page.evaluate("[...document.querySelectorAll('.plot')].filter(p => p.dataset.drawn).length")
    assert drawn == found.page.locator(".plot").count()
