"""No test leaves a plugin behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugged import forgotten


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten():
        yield
