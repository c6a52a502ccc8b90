"""The expected failures of the search side; the command line prints each as one line."""


class SearchError(Exception):
    """Base of every expected failure raised by `search`."""
