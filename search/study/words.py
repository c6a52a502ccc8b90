"""A configuration in a few words: what people call a recipe by, for places that have room for one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lobmodels.config import own_feature_flags
from lobmodels.features import GROUPS
from search.studyfile.values import show

SHOWN = 4  # values of a configuration that lobtuna did not write


def brief(configuration: Mapping[str, Any]) -> str:
    """`gru 3x64, mse, lr 0.0009, +derived`; of a foreign configuration, its first values."""
    names = ("architecture", "num_layers", "hidden_size", "loss", "lr")
    if not all(name in configuration for name in names):
        return ", ".join(f"{name} {_short(value)}" for name, value in list(configuration.items())[:SHOWN])
    architecture, layers, hidden, loss, lr = (configuration[name] for name in names)
    groups = "".join(f" +{name}" for name in (*GROUPS, *own_feature_flags()) if configuration.get(name) is True)
    return f"{architecture} {layers}x{hidden}, {loss}, lr {_short(lr)}" + (f",{groups}" if groups else "")


def _short(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else show(value)
