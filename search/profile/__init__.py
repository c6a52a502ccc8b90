"""A data profile as a page to look at: figures, sentences, tables. What it measures is in `lobmodels.profile`."""

from search.profile.page import write_profile

__all__ = ["write_profile"]
