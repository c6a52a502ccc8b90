"""Pictures for the documentation: `python -m tests.screenshots FOLDER` writes them from a made study.

The study is simulated (`tests.made_study`); so are the scores of its ensemble and of the ridge regression.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from optuna.storages import BaseStorage
from rich.console import Console, RenderableType

from lobmodels.data import load_dataset
from lobmodels.data.synthetic import write_dataset
from lobmodels.profile import profile_dataset
from search.cli.status import render
from search.profile import write_profile
from search.report import write_report
from search.report.compare import compare
from search.report.headline import headline
from search.report.record import read_study
from search.report.start import StartReader, dashboard_of
from search.report.write import write_comparison
from search.study.outlook import Outlook
from search.study.record import ENSEMBLE, RIDGE
from search.study.reference import Reference, Score, store_reference
from search.study.status import status_of
from search.studyfile.spec import StudySpec
from search.work.events import Event
from search.work.progress import Progress
from storage.backends.registry import open_storage
from storage.dashboard.server import Settings, listening
from storage.dashboard.start import render as start_page
from tests.browser.conftest import FLAGS, NAMES
from tests.made_study import SPEC, make_study

OUTLOOK = Outlook(87, 200, 3, 0.2786, 57, "gru 1x112, mse, lr 0.00094", 7800.0)
PHONE, DESK = 400, 1280


def studies(storage: BaseStorage) -> list[Any]:
    """A study with replicates and references, and one to compare it with."""
    joint = make_study(storage, 150, replicates=(5, 4))
    wide = make_study(storage, 90, seed=3, spec=StudySpec.from_json(SPEC.to_json() | {"name": "wide"}))
    members = tuple(run.name for row in read_study(joint).ranking.repeated for run in row.runs)
    ensemble = Reference(
        Score(0.2859, 0.2741, 0.2977), Score(0.2811, 0.2632, 0.2990), members, read_study(joint).complete
    )
    store_reference(joint, ENSEMBLE, ensemble)
    store_reference(joint, RIDGE, Reference(Score(0.2304, 0.2172, 0.2436), Score(0.2288, 0.2079, 0.2497)))
    return [joint, wide]


def terminal(width: int, *parts: RenderableType) -> str:
    """What a terminal of so many columns shows, as SVG."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    for part in parts:
        console.print(part)
    return console.export_svg(title="")


def at_work() -> RenderableType:
    """The screen of `work` with two slots."""
    progress = Progress(Console(file=io.StringIO()), slots=2)
    progress.handle(Event("outlook", "joint", outlook=asdict(OUTLOOK)))
    for slot, trial in enumerate((86, 87)):
        progress.handle(Event("start", "joint", trial, epochs=30), slot)
        scored = {"score": 0.2612 + 0.003 * slot, "best": 0.2633 + 0.003 * slot, "seconds": 2.3}
        progress.handle(Event("epoch", "joint", trial, epoch=11 + 3 * slot, epochs=30, **scored), slot)
    return progress.screen()


Picture = tuple[str, int, int]  # address, width and height in pixels


def pictures(folder: Path, storage: BaseStorage, joint: Any, wide: Any) -> dict[str, Picture]:
    """Pages and terminals to be photographed, by the name of the picture."""
    pages = {
        "report": write_report(joint, folder / "report"),
        "compare": write_comparison(compare([joint, wide]), folder / "compared"),
        "start": folder / "start.html",
        "profile": profile(folder),
    }
    pages["start"].write_text(start_page(StartReader(storage)(), writable=False), encoding="utf-8")
    found: dict[str, Picture] = {}
    for name, page in pages.items():
        found[name] = (page.resolve().as_uri(), DESK, 1000)
        found[f"{name}-phone"] = (page.resolve().as_uri(), PHONE, 900)
    screen = render(status_of(joint), headline(read_study(joint)))
    for name, width, part in (
        ("status", 80, screen),
        ("status-wide", 140, screen),
        ("work", 80, at_work()),
        ("work-wide", 140, at_work()),
    ):
        path = folder / f"{name}.svg"
        path.write_text(terminal(width, part), encoding="utf-8")
        found[name] = (path.resolve().as_uri(), 7 * width, 0)
    return found


def profile(folder: Path) -> Path:
    """The page of a simulated data set's profile."""
    with contextlib.chdir(folder):  # the page names the folder of the data
        write_dataset(Path("lob"), train=60, valid=30, seed=0)
        return write_profile(profile_dataset(load_dataset(Path("lob"))), folder / "profile")[0]


@contextlib.contextmanager
def dashboard(storage: BaseStorage) -> Iterator[dict[str, Picture]]:
    """The dashboard's page of the first study, while it is served."""
    with listening(storage.store, Settings(port=0), dashboard_of(storage)) as server:
        threading.Thread(target=server.run, daemon=True).start()
        study = f"{server.url}/dashboard/studies/1"
        yield {"dashboard": (study, DESK, 1000), "dashboard-phone": (study, PHONE, 900)}


def photograph(found: dict[str, Picture], folder: Path, each: Callable[[Path], None]) -> None:
    """Take each picture with the system's Chromium."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("LOBTUNA_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        for name, (source, width, height) in found.items():
            page = browser.new_page(viewport={"width": width, "height": height or 400})
            target = folder / f"{name}.png"
            if source.endswith(".svg"):
                drawing = Path(url2pathname(urlsplit(source).path)).read_text()
                page.set_content(f"<style>body {{ margin: 0 }} svg {{ display: block }}</style>{drawing}")
                page.locator("svg").first.screenshot(path=target)
            else:
                page.goto(source)
                page.wait_for_timeout(2500)  # figures near the window are drawn
                page.screenshot(path=target)
            each(target)
        browser.close()


def main() -> None:
    """Write every picture into the folder that is named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        storage = open_storage(f"sqlite:///{scratch}/studies.db")
        joint, wide = studies(storage)
        with dashboard(storage) as served:
            found = pictures(Path(scratch), storage, joint, wide) | served
            photograph(found, folder, lambda path: print(path, f"{path.stat().st_size / 1000:.0f} kB"))


if __name__ == "__main__":
    main()
