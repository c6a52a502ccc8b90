"""The expected failures of databases and artifact stores; messages never hold a password."""


class StorageError(Exception):
    """Base of every expected failure raised by `storage`."""
