"""The data profile's page in a browser, with the network off."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lobmodels.data import Dataset
from lobmodels.profile import profile_dataset
from search.profile import write_profile
from tests.browser.conftest import WIDE, Visit
from tests.browser.rendered import check_axes, read_figures


@pytest.fixture(scope="module")
def page_path(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a small data set."""
    return write_profile(profile_dataset(small_dataset), tmp_path_factory.mktemp("profile"))[0]


@pytest.mark.parametrize("width", [WIDE, 400])
def test_every_figure_is_drawn_without_a_network(visit: Callable[..., Visit], page_path: Path, width: int) -> None:
    """Offline, every figure is drawn, the console stays free of errors, nothing is wider than the window."""
    found = visit(page_path.as_uri(), width, offline=True)
    found.scroll_through()
    found.page.wait_for_function(
        "() => [...document.querySelectorAll('.plot')].every(p => p.querySelector('.trace, .hm'))"
    )
    figures = read_figures(found)
    assert len(figures) > 10
    check_axes(figures)
    found.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert found.overflow() <= 0
    assert found.errors == []
