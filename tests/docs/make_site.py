"""Makes the documentation's site: `python -m tests.docs.make_site FOLDER` (or `make docs`) writes it as HTML.

The pages stay Markdown that a repository shows by itself. They are copied beside each other, the README as the start
page, the notebook as a page with its output, the commands' help as a page; Sphinx builds them. A link to a page, a
heading or a file that is not there is an error.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import plotly.offline
from sphinx.cmd.build import main as sphinx

from tests.docs.commands_page import commands_page
from tests.docs.notebook_page import PLOTLY, notebook_page
from tests.docs.pages import PAGES, ROOT

SITE = ROOT / "docs" / "site"
# The menu: a heading and its pages.
MENU = {
    "Begin": ("a-first-study", "one-day", "many-machines", "kaggle", "reading-a-report"),
    "Look up": ("commands", "study-file", "data", "python", "notebook", "plugins"),
    "Understand": ("recipes", "ranking", "submission", "search-proof", "selection-proof"),
    "The project": ("design-notes", "extending", "releasing", "changelog"),
}
# How links change: all pages lie beside each other, in lower case. In this order.
MOVED = {"](docs/": "](", "](python.ipynb)": "](notebook.md)", "](RELEASING.md)": "](releasing.md)"}


def stage(folder: Path) -> None:
    """Write what Sphinx reads into an empty folder."""
    pages = {name.lower(): text for name, text in PAGES.items()}
    pages["index.md"] = pages.pop("readme.md") + menu()
    pages["changelog.md"] = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    pages["commands.md"] = commands_page()
    pages["notebook.md"] = notebook_page(ROOT / "docs" / "python.ipynb")
    for name, text in pages.items():
        for old, new in MOVED.items():
            text = text.replace(old, new)
        (folder / name).write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "images", folder / "images")


def menu() -> str:
    """The table of contents as Sphinx reads it."""
    parts = (
        "\n```{{toctree}}\n:hidden:\n:caption: {}\n\n{}\n```\n".format(title, "\n".join(pages))
        for title, pages in MENU.items()
    )
    return "".join(parts)


def build(folder: Path) -> int:
    """Write the site into `folder`; returns Sphinx's exit status, which is not 0 after any warning."""
    with tempfile.TemporaryDirectory() as scratch:
        source, assets = Path(scratch, "pages"), Path(scratch, "assets")
        for made in (source, assets):
            made.mkdir()
        stage(source)
        for name in ("site.css", "site.js"):
            shutil.copy(SITE / name, assets)
        (assets / PLOTLY).write_text(plotly.offline.get_plotlyjs(), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        strict = ["-q", "-n", "-W", "--keep-going"]
        places = ["-c", str(SITE), "-d", f"{scratch}/read", "-D", f"html_static_path={assets}"]
        return sphinx([*strict, *places, str(source), str(folder)])


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1])))
