"""The pages of the documentation and the commands they show."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}


def blocks(page: str) -> list[str]:
    """The blocks of shell commands, as they stand."""
    return re.findall(r"^```sh\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[str]:
    """The lines of a block without their comments."""
    return [line for line in (re.sub(r"\s+#.*", "", text).strip() for text in block.splitlines()) if line]
