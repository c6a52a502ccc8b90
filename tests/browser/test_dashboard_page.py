"""The dashboard in a browser: start page, studies, notes, plots, curves, files; deleting is refused."""

import re
import threading
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from search.report.note import write_note
from search.report.start import StartReader, dashboard_of
from search.studyfile.spec import StudySpec
from storage.artifacts import upload
from storage.backends.registry import open_storage
from storage.dashboard import start
from storage.dashboard.server import Settings, listening
from storage.dashboard.start import PERIOD, SCRIPT, Listing
from storage.errors import DashboardError
from tests.browser.conftest import NARROW, WIDE, Visit
from tests.made_study import SPEC, make_study

EVIL = "Which <img src=x onerror=alert(1)> recipe *wins*? [here](javascript:alert(2)) | # $x$"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a read-only dashboard over a study of 60 trials with replicates, files, note and plots."""
    storage = open_storage(f"sqlite:///{tmp_path_factory.mktemp('dashboard')}/studies.db")
    spec = StudySpec.from_json(SPEC.to_json() | {"question": EVIL})
    study = make_study(storage, 60, spec=spec, replicates=(3, 3), artifacts=True, failures=0.1)
    write_note(study, "host:1")
    with listening(storage.store, Settings(port=0), dashboard_of(storage)) as server:
        threading.Thread(target=server.run, daemon=True).start()
        yield server.url


@pytest.mark.parametrize("width", [WIDE, 400])
def test_the_start_page(visit: Callable[..., Visit], served: str, width: int) -> None:
    """The address itself shows each study's first lines, fits the window, and its link leads to the study's page."""
    found = visit(f"{served}/", width)
    text = found.page.evaluate("document.body.innerText")
    for piece in ("joint", EVIL, "What now", "60 of 200 trials", "lobtuna delete NAME"):
        assert piece in text
    assert found.page.locator("tbody th").all_inner_texts()[:2] == ["best", "ensemble"]
    assert found.overflow() <= 0
    found.page.get_by_role("link", name="joint", exact=True).click()
    found.page.get_by_text("Best Trial").first.wait_for()
    assert found.page.url == f"{served}/dashboard/studies/1"
    assert (found.errors, found.dialogs) == ([], [])
    assert all(url.startswith(served) or url.startswith(("data:", "blob:")) for url in found.requests)


def test_the_start_page_is_live(visit: Callable[..., Visit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open start page shows a new study by itself; while the database is away it says so and keeps what it shows."""
    assert SCRIPT.count(f"{PERIOD} * 1000") == 1
    monkeypatch.setattr(start, "SCRIPT", SCRIPT.replace(f"{PERIOD} * 1000", "300"))
    storage = open_storage(f"sqlite:///{tmp_path}/studies.db")
    reader, away = StartReader(storage), threading.Event()

    def read() -> Listing:
        if away.is_set():
            raise DashboardError("The database cannot be read: connection refused")
        return reader()

    with listening(storage.store, Settings(port=0), dashboard_of(storage, read)) as server:
        threading.Thread(target=server.run, daemon=True).start()
        found = visit(f"{server.url}/", 400)
        found.page.get_by_text("There is no study yet").wait_for()
        make_study(storage, 3)
        found.page.get_by_role("link", name="joint", exact=True).wait_for()
        away.set()
        found.page.get_by_text("The database cannot be read: connection refused").wait_for()
        assert found.page.get_by_role("link", name="joint", exact=True).is_visible()


@pytest.mark.parametrize("width", [WIDE, 400])
def test_axe_finds_nothing_serious_on_the_start_page(chromium: Any, served: str, width: int) -> None:
    """No element of the start page fails a rule of axe-core whose impact is serious or critical."""
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    context = chromium.new_context(viewport={"width": width, "height": 1000}, bypass_csp=True)
    page = context.new_page()
    page.goto(f"{served}/")
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    context.close()
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("width", [1280, NARROW])
def test_the_study_page(visit: Callable[..., Visit], served: str, width: int) -> None:
    """Optuna's plots and ours are drawn, without a console error, under our content security policy."""
    found = visit(f"{served}/dashboard/studies/1", width)
    for title in ("Progress", "Learning curves", "Repeated configurations", "Best Trial"):
        found.page.get_by_text(title).first.wait_for()
    found.page.wait_for_function("() => document.querySelectorAll('.main-svg').length >= 6")
    assert found.errors == []
    assert all(url.startswith(served) or url.startswith(("data:", "blob:")) for url in found.requests)


def test_the_note(visit: Callable[..., Visit], served: str) -> None:
    """The note shows question, data, budget, command and ranking; what people wrote is text, not Markdown or HTML."""
    found = visit(f"{served}/dashboard/studies/1/note")
    found.page.get_by_role("heading", name="Ranking").wait_for()
    text = found.page.evaluate("document.body.innerText")
    assert EVIL in text
    assert "lobtuna work joint --storage $LOBTUNA_STORAGE" in text
    assert "f3a9c1d2e4b5f6a7" in text
    assert "200 trials, 24 hours" in text
    assert found.page.locator("table").count() >= 2
    assert found.page.locator("img").count() == 0
    assert found.page.locator('a[href^="javascript"]').count() == 0
    assert found.dialogs == []
    assert found.errors == []


def test_the_other_pages(visit: Callable[..., Visit], served: str) -> None:
    """The list of studies, the analytics and the table of trials open without an error."""
    found = visit(f"{served}/dashboard")
    found.page.get_by_text("joint.seeds").first.wait_for()
    for path in ("studies/1/analytics", "studies/1/trialTable", "studies/2"):
        found.page.goto(f"{served}/dashboard/{path}")
        found.page.wait_for_load_state("networkidle")
    assert found.errors == []


def test_a_trial_shows_its_curve_and_its_history(visit: Callable[..., Visit], served: str) -> None:
    """A finished trial's page has readable attributes, its score by epoch, and the history as a table among its files.
    The curves of all trials are a plot of the study's page, and the study's note has one of its own."""
    found = visit(f"{served}/dashboard/studies/1/trials?numbers=0")
    found.page.get_by_text("Intermediate Values").first.wait_for()
    found.page.get_by_test_id("FullscreenIcon").first.wait_for()
    text = found.page.evaluate("document.body.innerText")
    for attribute in ("seed 0", "worker kaggle-a:41", "device Tesla T4", "best_epoch", "reason early_stopping"):
        assert attribute in text
    assert "grad_norm" not in text  # the history is a file, not a wall of text
    found.page.get_by_test_id("FullscreenIcon").first.click()
    found.page.get_by_text("grad_norm").first.wait_for()
    assert found.errors == []
    assert found.overflow() <= 0


def test_deleting_is_refused(visit: Callable[..., Visit], served: str) -> None:
    """Writing requests are refused, whoever makes them, and the study is still there."""
    found = visit(f"{served}/dashboard")
    found.page.get_by_text("joint.seeds").first.wait_for()
    statuses = found.page.evaluate("""async () => {
        const ask = (path, method, body) => fetch(path, {method, body, headers: {"Content-Type": "application/json"}});
        return [
            (await ask("/api/studies/1", "DELETE", "{}")).status,
            (await ask("/api/studies/1/note", "PUT", '{"body": "x", "version": 9}')).status,
            (await ask("/api/trials/1/user-attrs", "POST", '{"user_attrs": {"seed": 1}}')).status,
            (await ask("/api/studies", "GET")).status,
        ];
    }""")
    assert statuses == [403, 403, 403, 200]
    found.page.reload()
    found.page.get_by_text("joint.seeds").first.wait_for()


# Every visible control of optuna-dashboard, by its label, its icon or its text. All of them only read.
READING = {
    "open drawer", "ChevronLeftIcon", "RefreshIcon", "Compare", "ArrowDownwardIcon", "SyncIcon", "SettingsIcon",
    "Brightness7Icon", "Filter", "show artifact table", "first page", "previous page", "next page", "last page",
    "checkbox", "radio", "range", "text", "combobox", "choice",
}  # fmt: skip
CONTROLS = """() => [...document.querySelectorAll('button, input, textarea, [role=button], [contenteditable=true]')]
    .filter(e => e.closest('#dashboard') && e.checkVisibility({visibilityProperty: true}))
    .map(e => {
        const icon = e.querySelector('[data-testid]');
        return e.tagName === 'INPUT' ? e.type : e.getAttribute('aria-label') || e.getAttribute('role') === 'combobox' &&
            'combobox' || icon && icon.getAttribute('data-testid') || e.textContent;
    })"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[str]:
    """URL of a read-only dashboard over a study with one trial that runs and has a file."""
    storage = open_storage(f"sqlite:///{tmp_path}/studies.db")
    trial = make_study(storage, 0).ask()
    upload(storage.store.artifacts, trial, storage, b"a,b", "history.csv", "text/csv")
    with listening(storage.store, Settings(port=0), dashboard_of(storage)) as server:
        threading.Thread(target=server.run, daemon=True).start()
        yield f"{server.url}/dashboard/studies/1/trials?numbers=0"


def controls(found: Visit, url: str) -> set[str]:
    """What can be clicked or typed into on the page at `url`, once it is drawn."""
    found.page.goto(url)
    found.page.wait_for_load_state("networkidle")
    found.page.locator("#dashboard main").first.wait_for()
    listed = re.compile(r"Trial \d+\w+|\d+\. [\w.]+ objectivemax")  # trials, and studies to compare, to be chosen
    return {"choice" if listed.fullmatch(name) else name for name in found.page.evaluate(CONTROLS)}


@pytest.mark.parametrize("width", [1280, NARROW])
def test_nothing_that_changes_is_shown(visit: Callable[..., Visit], served: str, running: str, width: int) -> None:
    """No page of a read-only dashboard shows a control that would change something; a new one in a new version of
    optuna-dashboard fails this test. Each page leads to the start page and to the reason."""
    found = visit(f"{served}/dashboard", width)
    pages = ("", "/studies/1", "/studies/1/note", "/studies/1/analytics", "/studies/1/trialTable", "/compare-studies")
    urls = [*(f"{served}/dashboard{page}" for page in pages), f"{served}/dashboard/studies/1/trials?numbers=0", running]
    shown = {url: controls(found, url) for url in urls}
    assert {url: names - READING for url, names in shown.items() if names - READING} == {}
    assert all("open drawer" in names for names in shown.values())
    found.page.get_by_role("link", name="read-only").click()
    found.page.get_by_text("This dashboard is read-only").wait_for()
    assert found.errors == []


def test_a_writable_dashboard_shows_them(visit: Callable[..., Visit], tmp_path: Path) -> None:
    """Where studies may be changed, optuna-dashboard's own buttons are there and do what they say."""
    storage = open_storage(f"sqlite:///{tmp_path}/studies.db")
    make_study(storage, 2)
    with listening(storage.store, Settings(port=0, writable=True), dashboard_of(storage)) as server:
        threading.Thread(target=server.run, daemon=True).start()
        found = visit(f"{server.url}/dashboard")
        found.page.get_by_label("delete study").first.wait_for()
        assert not found.page.get_by_label("rename study").first.is_visible()
        found.page.get_by_label("delete study").first.click()
        found.page.get_by_role("button", name="Yes").click()
        found.page.get_by_text("Success to delete").first.wait_for()
        found.page.wait_for_function("() => !document.querySelector('[aria-label=\"delete study\"]')")
    assert storage.get_all_studies() == []


def test_the_objective_has_its_name(visit: Callable[..., Visit], served: str) -> None:
    """The history's axis names the metric, for a study and for its replicates; no page says "Objective 0"."""
    found = visit(f"{served}/dashboard/studies/1")
    for study in (1, 2):
        found.page.goto(f"{served}/dashboard/studies/{study}")
        found.page.locator(".ytitle", has_text="weighted Pearson, selection").first.wait_for()
        assert found.page.get_by_text("Objective 0").count() == 0


def test_a_stored_page_cannot_run(visit: Callable[..., Visit], tmp_path: Path) -> None:
    """A file that claims to be a page, opened by itself, runs no script."""
    import optuna

    storage = open_storage(f"sqlite:///{tmp_path}/studies.db")
    study = optuna.create_study(storage=storage, study_name="s")
    trial = study.ask()
    body = b"<body>quiet<script>document.body.textContent = 'ran'</script>"
    artifact = upload(storage.store.artifacts, trial, storage, body, "page.html", "text/html")
    with listening(storage.store, Settings(port=0)) as server:
        threading.Thread(target=server.run, daemon=True).start()
        found = visit(f"{server.url}/artifacts/{study._study_id}/{trial._trial_id}/{artifact}")
        assert found.page.inner_text("body") == "quiet"
