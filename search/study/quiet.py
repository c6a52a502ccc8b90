"""Silences one warning of Optuna: that samplers and pruners in use for years are experimental."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.exceptions import ExperimentalWarning


@contextmanager
def without_experimental_warning() -> Iterator[None]:
    """Build an Optuna object inside the block without its `ExperimentalWarning`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
