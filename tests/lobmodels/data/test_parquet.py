"""Reading parquet: one clear error for every way a file can break the format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lobmodels.data import load_sequences
from lobmodels.errors import DataError
from lobmodels.profile.audit import audit_file
from tests.lobmodels.spoiled_tables import poke, put, shuffled, without

Change = Callable[[pa.Table], pa.Table]


BROKEN: dict[str, tuple[Change, str]] = {
    "missing column": (lambda t: t.drop(["v3"]), "missing column v3"),
    "missing columns": (lambda t: t.drop(["v3", "t1"]), "missing column v3, t1"),
    "extra column": (lambda t: t.append_column("mid", t["p0"]), "extra column mid"),
    "repeated column": (lambda t: t.append_column("p0", t["p0"]), "repeated column p0"),
    "float64 too large": (
        lambda t: poke(put(t, "p4", t["p4"].cast(pa.float64()).combine_chunks()), "p4", 9, 1e300),
        "column p4 holds 1 inf, first in row 9",
    ),
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
