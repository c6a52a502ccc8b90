"""Building a sampler or a pruner prints no warning, and other warnings still show."""

import warnings

import pytest
from optuna.exceptions import ExperimentalWarning

from search.study.quiet import without_experimental_warning


def test_only_the_experimental_warning_is_silenced() -> None:
    """Within the block it disappears, after the block it does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ExperimentalWarning)
        with without_experimental_warning():
            warnings.warn("experimental", ExperimentalWarning, stacklevel=1)
        with pytest.warns(UserWarning, match="other"), without_experimental_warning():
            warnings.warn("other", UserWarning, stacklevel=1)
        with pytest.raises(ExperimentalWarning):
            warnings.warn("experimental", ExperimentalWarning, stacklevel=1)
