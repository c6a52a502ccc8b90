"""The names that a plugin's file imports."""

from __future__ import annotations

import lobtuna.plugins
from lobmodels.plugins import declarations, registering


def test_the_names() -> None:
    """The decorators and types of `lobmodels.plugins`, no copies."""
    assert lobtuna.plugins.network is registering.network and lobtuna.plugins.Int is declarations.Int
    assert set(lobtuna.plugins.__all__) == {"network", "loss", "Int", "Float", "Choice", "Flag"}
