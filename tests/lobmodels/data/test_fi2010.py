"""FI-2010 is imported from its text files as they are distributed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lobmodels.data import load_dataset
from lobmodels.data.cut import Cut
from lobmodels.data.fi2010 import BOOK, import_files, read_file, schema_of
from lobmodels.errors import DataError
from lobmodels.inputs import available_groups
from tests.lobmodels.data.fi2010_files import events, write_events


def test_values_and_labels(tmp_path: Path) -> None:
    """Rows become columns, an event a row; 1 (up), 2, 3 (down) become 1, 0, -1."""
    features, labels = events(50)
    values = read_file(write_events(tmp_path / "a.txt", 50))
    np.testing.assert_allclose(values[:, :144], features.T, rtol=1e-6)
    assert (values[:, 144:][labels.T == 1] == 1).all() and (values[:, 144:][labels.T == 3] == -1).all()
    assert (values[:, 144:][labels.T == 2] == 0).all()
    book = read_file(tmp_path / "a.txt", book_only=True)
    assert np.array_equal(book, np.concatenate([values[:, :40], values[:, 144:]], 1))


def test_import(tmp_path: Path) -> None:
    """Sequences of each file stay in their file and lie apart by the gap; columns have the names of the book's
    levels."""
    train = [write_events(tmp_path / f"{i}.txt", 110 + 50 * i, seed=i) for i in range(2)]
    valid = [write_events(tmp_path / "v.txt", 90, seed=7)]
    schema = schema_of(40, 10)
    assert import_files(train, valid, tmp_path / "data", schema, Cut(gap=10)) == (2 + 3, 2)
    data = load_dataset(tmp_path / "data", tmp_path / "cache")
    first, second, third = (events(n, seed)[0] for n, seed in ((110, 0), (160, 1), (90, 7)))
    np.testing.assert_allclose(data.train.features[1], first.T[50:90], rtol=1e-6)
    np.testing.assert_allclose(data.train.features[2], second.T[:40], rtol=1e-6)
    np.testing.assert_allclose(data.valid.features[1], third.T[50:90], rtol=1e-6)
    assert data.schema.targets == ("move_10", "move_20", "move_30", "move_50", "move_100")
    assert data.schema.features[:8] == ("p6", "v6", "p0", "v0", "p7", "v7", "p1", "v1")
    assert data.schema.features[36:41] == ("ask_price_10", "ask_volume_10", "bid_price_10", "bid_volume_10", "u41")
    assert available_groups(data.schema) == ("interaction",)  # the others read trades, which it has none of


def test_the_end_of_train_is_for_validation(tmp_path: Path) -> None:
    """Without a file to validate on, the last events are; the book alone has 40 columns."""
    file = write_events(tmp_path / "a.txt", 500)
    schema = schema_of(40, 0, book_only=True)
    assert import_files([file], [], tmp_path / "data", schema, Cut(valid_share=0.2)) == (10, 2)
    assert load_dataset(tmp_path / "data", tmp_path / "cache").schema.features == BOOK


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows[:-1], "148 rows, and a file of FI-2010 has 149"),
        (lambda rows: [*rows, rows[0]], "150 rows"),
        (lambda rows: [rows[0] + " 1.0", *rows[1:]], "rows hold 20 to 21 events"),
        (lambda rows: [rows[0].replace("e", "x", 1), *rows[1:]], "row 1: could not convert"),
        (lambda rows: ["nan " * 20, *rows[1:]], "row 1, event 1 is not a finite number"),
        (lambda rows: [*rows[:-1], "4 " * 20], "a label is 4; labels are 1 (up), 2 (stationary) or 3 (down)"),
        (lambda rows: ["größe"], "not the text of FI-2010"),
    ],
)
def test_files_of_another_format(spoil, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Each fault is one clear line that names the file."""
    path = write_events(tmp_path / "a.txt", 20)
    path.write_text("\n".join(spoil(path.read_text().splitlines())), encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.txt: ") as error:
        read_file(path)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Named with the reason; so is a warm-up that leaves nothing to score."""
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_file(tmp_path / "none.txt")
    with pytest.raises(DataError, match="warmup=40 leaves nothing of 40 steps"):
        schema_of(40, 40)
