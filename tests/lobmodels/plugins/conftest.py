"""No test leaves a plugin behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugin_files import forgotten


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten():
        yield
