"""Plugins in tests: the example of the page, and a way to forget what a test has registered."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from lobmodels import metric, own_features
from lobmodels.config import REQUIRES, RunConfig
from lobmodels.plugins import declarations, registering

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"


def blocks_of_files() -> dict[str, str]:
    """The files that the page shows, by the name in their first line."""
    found = re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return dict(found)


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
    """Whatever is registered within is unknown afterwards: other tests walk through every word of a configuration."""
    fields, required = dict(RunConfig.__pydantic_fields__), dict(REQUIRES)
    tables = [
        declarations.DECLARED,
        own_features.DECLARED,
        metric.METRICS,
        registering.PARTS,
        *(r._entries for r in registering.REGISTRIES.values()),
    ]
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, content in zip(
            [RunConfig.__pydantic_fields__, REQUIRES, *tables], [fields, required, *before], strict=True
        ):
            table.clear()
            table.update(content)  # type: ignore[arg-type]
        RunConfig.model_rebuild(force=True)
