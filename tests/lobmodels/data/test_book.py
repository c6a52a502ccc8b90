"""Six levels have the challenge's names, deeper ones their own."""

from __future__ import annotations

from lobmodels.data.book import book_columns, level_columns
from lobmodels.schema import LOB


def test_names_of_levels() -> None:
    """In the order of the public formats: ask price, ask volume, bid price, bid volume."""
    assert level_columns(0) == ("p6", "v6", "p0", "v0") and level_columns(5) == ("p11", "v11", "p5", "v5")
    assert level_columns(6) == ("ask_price_7", "ask_volume_7", "bid_price_7", "bid_volume_7")
    assert set(book_columns(6)) == set(LOB.features[:24]) and len(book_columns(10)) == 40
