"""`lobtuna data cut` and `data import`: another data set goes from its files to a scored submission."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.lobmodels.data.fi2010_files import write_events
from tests.lobmodels.data.lobster_files import events, write_day
from tests.plugin_files import forgotten
from tests.search.cli.calls import Run

STUDY = """\
name: moves
parameters:
  hidden_size: {choices: [4, 6]}
  num_layers: 1
  interaction: {choices: [false, true]}
  normalizer: zscore
  batch_size: 8
  epochs: 1
pruner: {name: none}
budget: {trials: 2}
"""

SIDES = """\
import torch

from lobtuna.plugins import features


@features("sides", reads=["v0", "v6", "executed"], gives=["side", "executed_side"])
def sides(x, config):
    side = (x[..., 0] - x[..., 1]) / (x[..., 0] + x[..., 1]).clamp(min=1)
    return torch.stack([side, side * x[..., 2]], -1)
"""


def test_fi2010_from_text_to_score(run: Run, tmp_path: Path) -> None:
    """Imported, checked, searched, exported and scored; every step speaks of the five targets and the metric."""
    write_events(tmp_path / "train.txt", 1000)
    write_events(tmp_path / "test.txt", 500, seed=1)
    (tmp_path / "study.yaml").write_text(STUDY)
    arguments = ("--train", "train.txt", "--valid", "test.txt", "--output", "fi2010", "--book-only")
    code, out, _ = run("data", "import", "fi2010", *arguments, "--length", "80", "--warmup", "10", "--gap", "20")
    assert code == 0 and "train.parquet: 10 sequences" in out and "valid.parquet: 5 sequences" in out
    code, out, _ = run("data", "check", "fi2010")
    assert code == 0 and "order book" in out and "the format is kept" in out
    assert run("run", "study.yaml", "--data", "fi2010")[0] == 0
    code, out, _ = run("rank", "moves")
    assert code == 0 and "Pearson" in out
    code, out, err = run("export", "moves", "--top", "2", "--output", "moves.zip", "--data", "fi2010")
    assert code == 0, err
    code, out, err = run("score", "moves.zip", "--data", "fi2010", "--json")
    assert code == 0, err
    found = json.loads(out)
    targets = [f"move_{horizon}" for horizon in (10, 20, 30, 50, 100)]
    assert list(found)[1:7] == [*targets, "pearson"] and found["problems"] == []
    assert found["pearson"] == np.mean([found[name] for name in targets])


def test_cut_from_series_to_check(run: Run, tmp_path: Path) -> None:
    """A long series and a schema become a data folder that the check reads; options are named in errors."""
    count = np.arange(500)
    pq.write_table(pa.table({"a": np.sin(count), "y": np.cos(count)}), tmp_path / "series.parquet")
    (tmp_path / "s.yaml").write_text("features: [a]\ntargets: [y]\nsequence_length: 50\nmetric: r2\n")
    code, out, _ = run("data", "cut", "series.parquet", "--schema", "s.yaml", "--output", "cut", "--gap", "10")
    assert code == 0 and "train.parquet: 6 sequences" in out and "next: lobtuna data check cut" in out
    code, out, _ = run("data", "check", "cut", "--json")
    assert code == 0 and [file["sequences"] for file in json.loads(out)["files"]] == [6, 1]
    code, _, err = run("data", "cut", "series.parquet", "--schema", "s.yaml", "--output", "cut")
    assert code == 1 and "set --overwrite" in err
    code, _, err = run("data", "cut", "series.parquet", "--schema", "s.yaml", "--output", "b", "--gap", "-1")
    assert code == 1 and "--gap -1" in err
    code, _, err = run("data", "import", "lobsters", "--train", "x", "--output", "y")
    assert code == 2 and "choose from fi2010, lobster" in " ".join(err.replace("│", " ").split())
    code, _, err = run("data", "import", "fi2010", "--train", "x", "--output", "y", "--horizon", "10")
    assert code == 2 and "--horizon is for lobster" in " ".join(err.replace("│", " ").split())


@pytest.fixture
def _forgotten() -> Iterator[None]:
    """Other tests do not know the feature group."""
    with forgotten():
        yield


@pytest.mark.usefixtures("_forgotten")
def test_lobster_from_csv_to_score(run: Run, tmp_path: Path) -> None:
    """Two days of message and order-book files, with a user's feature group on their columns: imported, searched,
    exported, verified and scored."""
    for seed, day in enumerate(("2024-01-02", "2024-01-03")):
        write_day(tmp_path, *events(1500, seed=seed), day)
    (tmp_path / "sides.py").write_text(SIDES)
    (tmp_path / "study.yaml").write_text(STUDY.replace("interaction:", "sides:"))
    days = [f"TICK_2024-01-0{day}_34200000_57600000_message_3.csv" for day in (2, 3)]
    arguments = ("--train", days[0], "--valid", days[1], "--horizon", "2", "--horizon", "20", "--gap", "20")
    code, out, err = run("data", "import", "lobster", *arguments, "--output", "lob", "--length", "80", "--warmup", "10")
    assert code == 0 and "train.parquet: 15 sequences" in out and "valid.parquet: 15 sequences" in out, err
    code, out, _ = run("data", "check", "lob")
    assert code == 0 and "event" in out and "the format is kept" in out
    code, _, err = run("run", "study.yaml", "--data", "lob", "--plugin", "sides.py")
    assert code == 0, err
    plugin = ("--data", "lob", "--plugin", "sides.py")
    code, out, err = run("export", "moves", "--top", "2", "--output", "moves.zip", *plugin)
    assert code == 0 and "features sides" in " ".join((out + err).split()), err
    code, out, err = run("verify", "moves.zip", *plugin)
    assert code == 0 and "fails" not in out, out + err
    code, out, err = run("score", "moves.zip", "--data", "lob", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["pearson"] == np.mean([found["move_2"], found["move_20"]]) and found["problems"] == []


def test_a_gap_that_targets_see_through(run: Run, tmp_path: Path) -> None:
    """The message names the options."""
    path, _ = write_day(tmp_path, *events(300))
    code, _, err = run("data", "import", "lobster", "--train", path.name, "--output", "lob", "--gap", "50")
    said = "--gap 50 is less than --horizon 100: targets would look into the next sequence"
    assert code == 1 and said in " ".join(err.split())
