"""The expected failures of databases and artifact stores; messages never hold a password."""


class StorageError(Exception):
    """Base of every expected failure raised by `storage`."""


class UrlError(StorageError):
    """A storage or artifact URL that cannot be used as it stands."""


class DatabaseUnavailable(StorageError):
    """The database did not answer within the time a caller was ready to wait."""


class DatabaseFull(StorageError):
    """The database has no room left, or may not be written."""


class ClaimLost(StorageError):
    """The trial is no longer this worker's: another took it over, or it was finished or deleted."""


class ArtifactError(StorageError):
    """An artifact that is missing, corrupt or could not be written."""


class DashboardError(StorageError):
    """The dashboard cannot be served this way: unsafe settings, or a port that is taken."""
