"""The expected failures: what `except lobtuna.EXPECTED` catches. Each message is one line that says what to do."""

from search.errors import EXPECTED

__all__ = ["EXPECTED"]
