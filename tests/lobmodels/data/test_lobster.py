"""Files in the format of LOBSTER become sequences whose targets look into nothing but their own part of a day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lobmodels.data import load_dataset
from lobmodels.data.cut import Cut
from lobmodels.data.lobster import EMPTY, import_files, levels_of, read_day, schema_of
from lobmodels.errors import DataError
from lobmodels.inputs import available_groups
from tests.lobmodels.data.lobster_files import events, write_day

HORIZONS = (2, 10)


def imported(train: list[Path], valid: list[Path], output: Path, gap: int = 10, **terms: Any) -> Any:
    """The data set of these days: sequences of 40 steps, 5 of them warm-up."""
    schema = schema_of(40, 5, levels_of(train[0]), HORIZONS, **terms)
    import_files(train, valid, output, schema, Cut(gap))
    return load_dataset(output)


def test_values_are_those_of_the_files(tmp_path: Path) -> None:
    """Prices in basis points from the mid of the sequence's first row, sizes and events as they are, targets too."""
    messages, book = events(400)
    path, _ = write_day(tmp_path, messages, book)
    data = imported([path], [], tmp_path / "lob")
    schema = data.schema
    assert schema.features[:4] == ("p6", "v6", "p0", "v0") and schema.targets == ("move_2", "move_10")
    mid = (book[:, 0] + book[:, 2]) / 2
    kinds = ("submitted", "reduced", "deleted", "executed", "executed_hidden")
    for i, first in enumerate((0, 50, 100)):
        rows, at = slice(first, first + 40), {name: j for j, name in enumerate(schema.features)}
        x, y = np.array(data.train.features[i], np.float64), np.array(data.train.targets[i], np.float64)
        relative = lambda price, first=first: (price / mid[first] - 1) * 1e4  # noqa: E731
        assert np.abs(x[:, at["p6"]] - relative(book[rows, 0])).max() < 1e-3
        assert np.abs(x[:, at["p2"]] - relative(book[rows, 10])).max() < 1e-3
        assert np.array_equal(x[:, at["v6"]], book[rows, 1]) and np.array_equal(x[:, at["v2"]], book[rows, 11])
        assert np.abs(x[:, at["event_price"]] - relative(messages[rows, 4])).max() < 1e-3
        assert np.array_equal(x[:, at["event_size"]], messages[rows, 3])
        assert np.array_equal(x[:, at["event_direction"]], messages[rows, 5])
        kind = sum((j + 1) * x[:, at[name]] for j, name in enumerate(kinds))
        assert np.array_equal(kind, messages[rows, 1])
        for j, steps in enumerate(HORIZONS):
            expected = (mid[first + steps : first + 40 + steps] / mid[rows] - 1) * 1e4
            assert np.abs(y[:, j] - expected).max() < 1e-3
    assert "interaction" in available_groups(schema)


def test_the_book_alone(tmp_path: Path) -> None:
    """Without the columns of the event."""
    path, _ = write_day(tmp_path, *events(300, levels=7))
    data = imported([path], [], tmp_path / "lob", book_only=True)
    assert len(data.schema.features) == 28 and "ask_price_7" in data.schema.features


def test_no_target_looks_across_a_border(tmp_path: Path) -> None:
    """Days at ten times each other's price: a target that looked into the next day, over a halt, over an empty best
    level or from train into valid would be thousands of basis points."""
    paths = []
    for day, factor in enumerate((1, 10, 100)):
        messages, book = events(330, seed=day)
        book[:, ::2] *= factor
        messages[110, 1], messages[110, 4] = 7, -1  # from here on another price: trading was halted
        book[111:, ::2] *= 3
        book[220, 0], book[220, 1] = EMPTY, 0  # nobody sells for a moment
        book[221:, ::2] *= 3
        paths.append(write_day(tmp_path, messages, book, f"2024-01-0{day + 2}")[0])
    for valid in ([], paths[2:]):
        data = imported(paths[: 3 - len(valid)], valid, tmp_path / f"lob{len(valid)}")
        for part in (data.train, data.valid):
            assert np.abs(part.targets).max() < 60 and np.abs(part.features[:, :, ::2][:, :, :6]).max() < 300
        counts = (len(data.train), len(data.valid))
        assert counts == ((12, 6) if valid else (14, 3)), counts


def test_train_sees_nothing_of_valid(tmp_path: Path) -> None:
    """Changing every row of the validation part changes no train sequence and no train target, though the last train
    sequence ends at the border."""
    messages, book = events(1050)
    path, _ = write_day(tmp_path, messages, book)
    before = imported([path], [], tmp_path / "before")
    book[850:, ::4] += 5_000
    write_day(tmp_path, messages, book)
    after = imported([path], [], tmp_path / "after")
    assert len(before.train) == 17
    for name in ("features", "targets"):
        assert np.array_equal(getattr(before.train, name), getattr(after.train, name))
        assert not np.array_equal(getattr(before.valid, name), getattr(after.valid, name))


def test_empty_levels_take_the_price_of_the_next_better_one(tmp_path: Path) -> None:
    """And the size 0; an empty best level ends a part."""
    messages, book = events(50)
    book[7, 4:8] = (EMPTY, 0, -EMPTY, 0)
    book[7, 8:12] = (EMPTY, 0, -EMPTY, 0)
    book[30, 2:4] = (-EMPTY, 0)
    path, _ = write_day(tmp_path, messages, book)
    day = read_day(path)
    assert day.parts == ((0, 30), (31, 50))
    assert day.prices[7].tolist() == [book[7, 0], book[7, 2]] * 3 and day.sizes[7, 2:].tolist() == [0, 0, 0, 0]


def test_either_file_names_the_day(tmp_path: Path) -> None:
    """The order book's file does, too; a seventh column of messages is not read."""
    messages, book = events(60)
    path, other = write_day(tmp_path, messages, book)
    path.write_text("".join(f"{line},null\n" for line in path.read_text().splitlines()))
    day = read_day(other)
    assert np.abs(day.messages - messages).max() < 1e-6 and len(day.prices) == 60


def damaged(tmp_path: Path, mistake: str) -> Path:
    """The path of a day with that mistake in its files."""
    messages, book = events(60)
    if mistake == "late":
        messages[[10, 11], 0] = messages[[11, 10], 0]
    if mistake == "crossed":
        book[5, 0] = book[5, 2] - 100
    if mistake == "negative":
        book[5, 1] = -3
    path, other = write_day(tmp_path, messages[:, :5] if mistake == "five" else messages, book)
    if mistake == "short":
        other.write_text("".join(other.read_text().splitlines(keepends=True)[:-1]))
    if mistake == "header":
        path.write_text("time,type,id,size,price,direction\n" + path.read_text())
    if mistake == "words":
        path.write_text("nothing of this\nis, a table\n")
    if mistake == "empty":
        path.write_text("")
    if mistake == "columns":
        other.write_text("".join(f"{line},1\n" for line in other.read_text().splitlines()))
    if mistake == "missing":
        other.unlink()
    if mistake == "name":
        return path.rename(tmp_path / "day.csv")
    return path


@pytest.mark.parametrize(
    ("mistake", "said"),
    {
        "late": "line 12 is earlier than the one before; events must be in order",
        "crossed": r"in line 6 the best ask \d+ is below the best bid \d+",
        "negative": "line 6 holds a negative size; columns are ask price, ask size",
        "five": "5 columns, and a message has 6",
        "short": r"orderbook_3.csv has 59 lines and TICK_\S+_message_3.csv 60: both have one an event",
        "header": "column 1 holds something that is no number; the files have no header",
        "words": "not lines of numbers with commas between",
        "empty": "not lines of numbers with commas between: Empty CSV file",
        "columns": "13 columns; an order book has four for each level",
        "missing": "orderbook_3.csv: no such file; a day is two files",
        "name": r"day.csv: name a file ..._message_N.csv or ..._orderbook_N.csv",
    }.items(),
)
def test_a_damaged_day_is_one_line(tmp_path: Path, mistake: str, said: str) -> None:
    """It names the file, the line and the rule."""
    path = damaged(tmp_path, mistake)
    with pytest.raises(DataError, match=said) as caught:
        read_day(path)
    assert "\n" not in str(caught.value)


def test_terms_that_make_no_sense(tmp_path: Path) -> None:
    """A gap within which targets would look, horizons, a warm-up, days of other depth, days that are too short."""
    path, _ = write_day(tmp_path, *events(200))
    deep, _ = write_day(tmp_path, *events(200, levels=5), day="2024-01-03")
    with pytest.raises(DataError, match="gap=5 is less than horizon=10: targets would look into the next sequence"):
        imported([path], [], tmp_path / "a", gap=5)
    for horizons in ((), (0,), (5, 5)):
        with pytest.raises(DataError, match="name events ahead, from 1 on, each once"):
            schema_of(40, 5, 3, horizons)
    with pytest.raises(DataError, match="warmup=40 leaves nothing of 40 steps"):
        schema_of(40, 40, 3)
    with pytest.raises(DataError, match="5 levels, and the first day has 3; all days must have as many"):
        imported([path], [deep], tmp_path / "b")
    short, _ = write_day(tmp_path, *events(45), day="2024-01-04")
    with pytest.raises(DataError, match=r"valid.parquet would hold no sequence of 40 steps"):
        imported([path], [short], tmp_path / "c")
