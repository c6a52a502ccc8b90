"""Loading: what is promised of the cache, and one clear error for every way a file can break the format."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lobmodels.data import Dataset, cache_folder, load_dataset, load_sequences, validation_split
from lobmodels.errors import DataError
from lobmodels.profile.audit import audit_file, shifts, warnings
from lobmodels.schema import LOB

Change = Callable[[pa.Table], pa.Table]


@pytest.fixture(scope="module")
def good(small_data: Path) -> pa.Table:
    """Three whole sequences."""
    return pq.read_table(small_data / "valid.parquet").slice(0, 3000)


def put(table: pa.Table, column: str, values: np.ndarray | pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(column), column, pa.array(values))


def poke(table: pa.Table, column: str, row: int, value: object) -> pa.Table:
    values = table[column].to_numpy().copy()
    values[row] = value
    return put(table, column, values)


def shuffled(table: pa.Table, rows: slice) -> pa.Table:
    order = np.arange(len(table))
    order[rows] = np.random.default_rng(0).permutation(order[rows])
    return table.take(order)


def without(table: pa.Table, row: int) -> pa.Table:
    return pa.concat_tables([table.slice(0, row), table.slice(row + 1)])


BROKEN: dict[str, tuple[Change, str]] = {
    "missing column": (lambda t: t.drop(["v3"]), "missing column v3"),
    "missing columns": (lambda t: t.drop(["v3", "t1"]), "missing column v3, t1"),
    "extra column": (lambda t: t.append_column("mid", t["p0"]), "extra column mid"),
    "repeated column": (lambda t: t.append_column("p0", t["p0"]), "repeated column p0"),
    "float64 feature": (lambda t: put(t, "p4", t["p4"].cast(pa.float64()).combine_chunks()), "p4 has type double"),
    "text feature": (lambda t: put(t, "dv1", t["dv1"].cast(pa.string()).combine_chunks()), "dv1 has type string"),
    "integer flag": (
        lambda t: put(t, "need_prediction", t["need_prediction"].cast(pa.int8()).combine_chunks()),
        "need_prediction has type int8, not bool",
    ),
    "float ids": (
        lambda t: put(t, "seq_ix", t["seq_ix"].cast(pa.float64()).combine_chunks()),
        "seq_ix has type double",
    ),
    "NaN": (lambda t: poke(t, "p7", 1234, np.nan), "column p7 holds 1 NaN, first in row 1,234"),
    "null": (
        lambda t: put(t, "v0", pa.array(t["v0"].to_numpy(), mask=np.arange(3000) == 77)),
        "column v0 holds 1 NaN, first in row 77",
    ),
    "inf": (lambda t: poke(t, "t1", 2999, -np.inf), "column t1 holds 1 inf, first in row 2,999"),
    "short sequence": (lambda t: without(t, 1999), "has 999 steps, not 1000"),
    "long sequence": (
        lambda t: pa.concat_tables([t, poke(t, "step_in_seq", 2999, 1000).slice(2999)]),
        "has 1001 steps, not 1000",
    ),
    "shuffled within a sequence": (lambda t: shuffled(t, slice(1000, 2000)), "rows are shuffled: sequence"),
    "shuffled over sequences": (lambda t: shuffled(t, slice(0, 3000)), "rows are shuffled: sequence"),
    "interleaved": (
        lambda t: pa.concat_tables([t.slice(0, 500), t.slice(1000, 1000), t.slice(500, 500), t.slice(2000)]),
        "goes on in row 1,500",
    ),
    "duplicated step": (lambda t: poke(t, "step_in_seq", 1500, 499), "repeats step 499 in row 1,500"),
    "duplicated row": (
        lambda t: pa.concat_tables([t.slice(0, 10), t.slice(9)]),
        "repeats step 9 in row 10",
    ),
    "duplicated sequence": (lambda t: pa.concat_tables([t, t.slice(2000)]), "repeats step 0 in row 3,000"),
    "steps from one": (
        lambda t: put(t, "step_in_seq", t["step_in_seq"].to_numpy() + 1),
        "has step 1000 in row 999: steps run 0 to 999",
    ),
    "no rows": (lambda t: t.slice(0, 0), "no rows"),
    "flag too early": (
        lambda t: poke(t, "need_prediction", 1098, True),
        "need_prediction is true in row 1,098 (step 98)",
    ),
    "flag missing": (lambda t: poke(t, "need_prediction", 99, False), "need_prediction is false in row 99 (step 99)"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_file_is_one_clear_error(name: str, good: pa.Table, tmp_path: Path) -> None:
    """Each way to break the format gives a DataError that names file, place and rule; `audit_file` reports the same."""
    change, message = BROKEN[name]
    path = tmp_path / "broken.parquet"
    pq.write_table(change(good), path)
    with pytest.raises(DataError) as error:
        load_sequences(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert message in "; ".join(audit_file(path).problems)


def test_broken_file_leaves_nothing_in_the_cache(good: pa.Table, tmp_path: Path) -> None:
    """A refused file costs no disk."""
    path = tmp_path / "broken.parquet"
    pq.write_table(poke(good, "p0", 2500, np.nan), path)
    with pytest.raises(DataError):
        load_sequences(path, tmp_path / "cache")
    assert [entry for entry in (tmp_path / "cache").iterdir() if entry.suffix != ".lock"] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "an empty file (0 bytes)"), (b"seq_ix,step\n1,2\n", "not a parquet file"), (None, "no such file")],
)
def test_not_a_parquet(content: bytes | None, message: str, tmp_path: Path) -> None:
    """Something else than a parquet file is called what it is."""
    path = tmp_path / "train.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.parquet: ") as error:
        load_sequences(path)
    assert message in str(error.value)
    assert message in audit_file(path).problems[0]


def test_damaged_inside(small_data: Path, tmp_path: Path) -> None:
    """A parquet with intact ends and broken pages is an error of the data, told with its place."""
    path = tmp_path / "valid.parquet"
    content = bytearray((small_data / "valid.parquet").read_bytes())
    content[1000:60000] = bytes(59000)
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged after row 0"):
        load_sequences(path)
    assert any("damaged" in problem for problem in audit_file(path).problems)


def test_folder_members(small_data: Path, tmp_path: Path) -> None:
    """A folder without one of its files, a file in its place and no folder at all say which and what to do."""
    with pytest.raises(DataError, match="no such folder"):
        load_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no train\.parquet and no valid\.parquet"):
        load_dataset(tmp_path)
    (tmp_path / "train.parquet").symlink_to(small_data / "train.parquet")
    with pytest.raises(DataError, match=r"holds no valid\.parquet"):
        load_dataset(tmp_path)
    with pytest.raises(DataError, match="a file; --data takes a folder"):
        load_dataset(tmp_path / "train.parquet")
    with pytest.raises(DataError, match="a folder where a parquet file is expected"):
        load_sequences(tmp_path)


def test_audit_lists_every_problem(good: pa.Table, tmp_path: Path) -> None:
    """Several problems of one file are all reported, those of the rows beside those of the columns."""
    table = poke(poke(good, "p7", 5, np.nan), "step_in_seq", 1500, 499)
    table = table.drop(["v3"]).append_column("mid", table["p0"])
    path = tmp_path / "broken.parquet"
    pq.write_table(put(table, "dv1", table["dv1"].cast(pa.string()).combine_chunks()), path)
    audit = audit_file(path)
    text = "; ".join(audit.problems)
    for part in ("missing column v3", "extra column mid", "dv1 has type string", "column p7", "repeats step 499"):
        assert part in text
    assert audit.nan == 1
    assert "v3" not in audit.scale and "v4" in audit.scale
    with pytest.raises(DataError, match="and 2 more; `lobtuna data check"):
        load_sequences(path)


def test_wholly_shuffled_file_is_told_quickly(good: pa.Table, tmp_path: Path) -> None:
    """The order of a file that broke at every row is not followed to its end, and says so."""
    path = tmp_path / "shuffled.parquet"
    pq.write_table(shuffled(good, slice(0, 3000)), path)
    problems = audit_file(path).problems
    assert problems[0].startswith("rows are shuffled")
    assert any("was not followed past row" in problem for problem in problems)


def test_content_equals_the_file(small_data: Path) -> None:
    """Every value is where its sequence, step and column say, whatever the row groups; ids keep their order."""
    table = pq.read_table(small_data / "train.parquet")
    data = load_sequences(small_data / "train.parquet")
    assert len(data) == 24
    assert data.features.shape == (24, 1000, 32) and data.targets.shape == (24, 1000, 2)
    assert data.features.dtype == data.targets.dtype == np.float32
    for j, name in enumerate(LOB.features):
        np.testing.assert_array_equal(data.features[:, :, j].ravel(), table[name].to_numpy())
    for j, name in enumerate(LOB.targets):
        np.testing.assert_array_equal(data.targets[:, :, j].ravel(), table[name].to_numpy())
    np.testing.assert_array_equal(data.seq_ix, table["seq_ix"].to_numpy()[::1000])


def test_fingerprint_is_of_the_content(small_data: Path, tmp_path: Path) -> None:
    """Row groups, compression and place do not matter to it; one changed value, or another order, does."""
    table = pq.read_table(small_data / "valid.parquet")
    expected = load_sequences(small_data / "valid.parquet").fingerprint
    pq.write_table(table, tmp_path / "same.parquet", row_group_size=777, compression="none")
    assert load_sequences(tmp_path / "same.parquet").fingerprint == expected
    pq.write_table(poke(table, "p0", 5, 0.123), tmp_path / "other.parquet")
    assert load_sequences(tmp_path / "other.parquet").fingerprint != expected
    pq.write_table(pa.concat_tables([table.slice(1000), table.slice(0, 1000)]), tmp_path / "order.parquet")
    assert load_sequences(tmp_path / "order.parquet").fingerprint != expected


def test_dataset_fingerprint_covers_both(small_dataset: Dataset, small_data: Path, tmp_path: Path) -> None:
    """Another validation file makes another data set."""
    (tmp_path / "train.parquet").symlink_to(small_data / "train.parquet")
    (tmp_path / "valid.parquet").symlink_to(small_data / "train.parquet")
    other = load_dataset(tmp_path)
    assert other.train.fingerprint == small_dataset.train.fingerprint
    assert other.fingerprint != small_dataset.fingerprint


def test_arrays_are_shared_and_read_only(small_data: Path, tmp_path: Path) -> None:
    """The arrays are maps of the cache's files, not copies, and nobody can write to them."""
    data = load_sequences(small_data / "valid.parquet", tmp_path)
    assert isinstance(data.features, np.memmap)
    assert Path(data.features.filename).parent.parent == tmp_path
    with pytest.raises(ValueError, match="read-only"):
        data.features[0, 0, 0] = 1.0


def test_unchanged_file_is_not_read_again(small_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The second load converts nothing and writes nothing; a changed file is converted, its old state deleted."""
    source, cache = tmp_path / "valid.parquet", tmp_path / "cache"
    source.write_bytes((small_data / "valid.parquet").read_bytes())
    caplog.set_level(logging.INFO)
    first = load_sequences(source, cache)
    assert sum("converting" in record.message for record in caplog.records) == 1
    for lock in cache.glob("*.lock"):
        lock.unlink()
    assert load_sequences(source, cache).fingerprint == first.fingerprint
    assert sum("converting" in record.message for record in caplog.records) == 1
    assert list(cache.glob("*.lock")) == []
    pq.write_table(poke(pq.read_table(source), "p0", 5, 0.123), source)
    assert load_sequences(source, cache).fingerprint != first.fingerprint
    assert len([entry for entry in cache.iterdir() if entry.is_dir()]) == 1
    assert first.features[0, 0, 0] is not None  # a reader of the old state keeps it


@pytest.mark.parametrize("damage", ["truncate", "meta"])
def test_damaged_cache_is_converted_again(
    damage: str, small_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A cache entry that lost bytes is never used: it is said and made anew."""
    first = load_sequences(small_data / "valid.parquet", tmp_path)
    entry = next(path for path in tmp_path.iterdir() if path.is_dir())
    if damage == "truncate":
        os.truncate(entry / "features.npy", 5000)
    else:
        (entry / "meta.json").write_text("{")
    again = load_sequences(small_data / "valid.parquet", tmp_path)
    assert again.fingerprint == first.fingerprint
    assert again.features.shape == (12, 1000, 32)
    assert any("is damaged" in record.message for record in caplog.records)


CONVERT = """
import logging, resource, sys
logging.basicConfig(level=logging.INFO)
if len(sys.argv) > 3:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
from lobmodels.data import load_sequences
from lobmodels.errors import DataError
try:
    print(load_sequences(sys.argv[1], sys.argv[2]).fingerprint)
except DataError as error:
    print(f"DataError: {error}")
"""


def test_one_process_converts_and_others_wait(small_data: Path, tmp_path: Path) -> None:
    """Three processes that start together make one conversion and read the same arrays."""
    command = [sys.executable, "-c", CONVERT, str(small_data / "train.parquet"), str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert len({out for out, _ in outputs}) == 1
    assert sum("converting" in err for _, err in outputs) == 1


def test_full_disk(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that the disk refuses leaves no entry and says where to point the cache; space is asked for first."""
    command = [sys.executable, "-c", CONVERT, str(small_data / "valid.parquet"), str(tmp_path), "100000"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert "DataError" in output and "cannot be used" in output and "LOBTUNA_CACHE" in output
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"0\.00 GB free, .* needs 0\.00 GB there"):
        load_sequences(small_data / "valid.parquet", tmp_path)


def test_cache_that_cannot_be_a_folder(small_data: Path, tmp_path: Path) -> None:
    """A cache path that is a file, or lies below one, is refused in one line."""
    (tmp_path / "file").write_text("")
    for cache in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match="cannot be used"):
            load_sequences(small_data / "valid.parquet", cache)


def test_cache_folder_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The argument wins over LOBTUNA_CACHE, which wins over the user's cache folder."""
    monkeypatch.setenv("LOBTUNA_CACHE", str(tmp_path / "env"))
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    assert cache_folder() == tmp_path / "env"
    monkeypatch.delenv("LOBTUNA_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "lobtuna"


def test_validation_split() -> None:
    """Both parts are sorted, disjoint and complete; they depend on n and the fraction alone; a part is never empty."""
    for n, fraction, expected in ((1444, 0.25, 361), (93, 0.25, 23), (3, 0.01, 1), (3, 0.99, 2), (5, 0.0, 0)):
        select, report = validation_split(n, fraction)
        assert len(report) == expected
        np.testing.assert_array_equal(np.sort(np.concatenate([select, report])), np.arange(n))
        np.testing.assert_array_equal(report, np.sort(report))
        np.testing.assert_array_equal(validation_split(n, fraction)[1], report)
    # Written down: a study's reported scores must mean the same sequences under every version.
    assert validation_split(12, 0.25)[1].tolist() == [0, 2, 5]
    for n, fraction in ((10, 1.0), (10, -0.1), (1, 0.5), (10, float("nan"))):
        with pytest.raises(DataError):
            validation_split(n, fraction)


def test_audit_measures_scale_and_shift(small_data: Path) -> None:
    """Means, deviations and ranges equal numpy's on the whole file; the simulator's shift is found."""
    train, valid = (audit_file(small_data / f"{name}.parquet") for name in ("train", "valid"))
    assert (train.problems, train.sequences, train.rows, train.scored_rows) == ([], 24, 24000, 24 * 901)
    table = pq.read_table(small_data / "train.parquet")
    for name in (*LOB.features, *LOB.targets):
        column = table[name].to_numpy().astype(np.float64)
        scale = train.scale[name]
        expected = [column.mean(), column.std(), column.min(), column.max()]
        np.testing.assert_allclose([scale.mean, scale.std, scale.min, scale.max], expected, rtol=1e-9, atol=1e-12)
    found = shifts(train, valid)
    assert [shift.ks for shift in found] == sorted((shift.ks for shift in found), reverse=True)
    assert found[0].column.startswith("p") and found[0].ks > 0.15
    assert warnings([train, valid]) == []


def test_repeated_sequences_are_warned_of(good: pa.Table, tmp_path: Path) -> None:
    """A validation sequence that is in train too, or twice in a file, is no format error but is told."""
    copy = put(good.slice(0, 1000), "seq_ix", np.full(1000, 10**6))
    pq.write_table(pa.concat_tables([good, copy]), tmp_path / "train.parquet")
    pq.write_table(good.slice(1000), tmp_path / "valid.parquet")
    audits = [audit_file(tmp_path / f"{name}.parquet") for name in ("train", "valid")]
    assert [audit.problems for audit in audits] == [[], []]
    text = "; ".join(warnings(audits))
    assert "train.parquet: 1 sequences repeat" in text
    assert "2 sequences of valid.parquet are in train.parquet too" in text


def test_real_data_loads(real_lob: Path) -> None:
    """The real data keeps the format and has the sizes that its description gives."""
    data = load_dataset(real_lob)
    assert (len(data.train), len(data.valid)) == (427, 93)
    assert np.isfinite(data.train.targets).all()
