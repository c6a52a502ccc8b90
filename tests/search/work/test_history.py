"""A history as CSV can be read by anything."""

import csv
import io

from search.work.history import history_csv


def test_a_history_is_a_table_of_its_epochs() -> None:
    """One line an epoch; a value that an epoch lacks is an empty cell."""
    history = [{"epoch": 0, "mean": 0.25, "loss": 0.5}, {"epoch": 1, "mean": 0.26, "lr": 1e-3}]
    rows = list(csv.DictReader(io.StringIO(history_csv(history).decode())))
    assert list(rows[0]) == ["epoch", "mean", "loss", "lr"]
    assert [row["mean"] for row in rows] == ["0.25", "0.26"]
    assert rows[0]["lr"] == "" and rows[1]["loss"] == ""


def test_an_empty_history_is_an_empty_table() -> None:
    """A run without an epoch has no columns."""
    assert history_csv([]) == b"\n"
