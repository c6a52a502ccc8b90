"""Where studies and checkpoints live: databases behind one door, artifacts behind one protocol."""

from storage.database import open_storage
from storage.url import redact

__all__ = ["open_storage", "redact"]
