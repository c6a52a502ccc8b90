"""The expected failures of databases and artifact stores; messages never hold a password."""


class StorageError(Exception):
    """Base of every expected failure raised by `storage`."""


class UrlError(StorageError):
    """A storage or artifact URL that cannot be used as it stands."""


class Unavailable(StorageError):
    """A call that may succeed later: an outage, a full disk. What was to be stored is kept and tried again."""


class DatabaseUnavailable(Unavailable):
    """The database did not answer within the caller's patience."""


class DatabaseFull(Unavailable):
    """The database has no room left, or may not be written."""


class DatabaseReadOnly(DatabaseFull):
    """The database may not be written: a standby, a file without write permission, read-only media."""


class ClaimLost(StorageError):
    """The trial is no longer this worker's: another took it over, or it was finished or deleted."""


class ArtifactError(StorageError):
    """An artifact that is missing or corrupt, or a store that cannot be opened."""


class ArtifactNotStored(Unavailable, ArtifactError):
    """The store cannot take bytes at the moment: a full disk, a bucket out of reach."""


class DashboardError(StorageError):
    """The dashboard cannot be served this way: unsafe settings, or a port that is taken."""
