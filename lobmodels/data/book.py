"""Names of order-book columns in data that is imported: the challenge's own where it has the level."""

from __future__ import annotations

NAMED_LIKE_THE_CHALLENGE = 6  # levels whose columns are named as the challenge's, so that feature groups find them


def level_columns(level: int) -> tuple[str, str, str, str]:
    """Names of ask price, ask volume, bid price, bid volume of a level, counted from 0."""
    if level < NAMED_LIKE_THE_CHALLENGE:
        return f"p{6 + level}", f"v{6 + level}", f"p{level}", f"v{level}"
    return f"ask_price_{level + 1}", f"ask_volume_{level + 1}", f"bid_price_{level + 1}", f"bid_volume_{level + 1}"


def book_columns(levels: int) -> tuple[str, ...]:
    """Names of the columns of so many levels, the best first."""
    return tuple(name for level in range(levels) for name in level_columns(level))
