"""A data profile as an HTML page with figures and tables. The measurements are in `lobmodels.profile`."""

from search.profile.page import write_profile

__all__ = ["write_profile"]
