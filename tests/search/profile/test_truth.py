"""Figures and tables of a profile show the truth of data that was made by known rules.

All columns are white noise, but p0, which is correlated with t0 in the same row, v0, which is with t1, and p1, which
lies higher in validation. t0 is an autoregression, half of t1's variance is t0 of some rows before. The expected
values are formulas of normal distributions; tolerances are a few standard errors of what the sample can show.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.signal import lfilter

from lobmodels.data import load_dataset
from lobmodels.profile import Profile, profile_dataset
from lobmodels.profile.findings import findings
from lobmodels.profile.targets import LAGS, LARGE, TOP_SHARES
from lobmodels.schema import LOB
from search.profile.page import page
from search.report.page import Page, Section

TRAIN, VALID, SEED = 64, 48, 11
MEMORY = 0.8  # of t0: its autocorrelation falls by this factor a row
KNOWN0, KNOWN1 = 0.5, 0.4  # correlations of p0 with t0 and of v0 with t1
LATER = 5  # rows by which half of t1's variance follows t0
SHIFT, SCALE = 1.0, 2.0  # of p1: its mean in valid, and its standard deviation in both files
NORMAL = NormalDist()


def weighted(correlation: float) -> float:
    """Correlation of two standard normals weighted by the size of the second: E|y| = √(2/π) and E|y|³ = 2 √(2/π)."""
    return correlation * math.sqrt(2 / (1 + correlation**2))


def made(rng: np.random.Generator, sequences: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, 1000, 32) and targets (N, 1000, 2), all of variance one but p1."""
    shape = (sequences, LOB.sequence_length + 200)
    noise = rng.normal(size=shape) * math.sqrt(1 - MEMORY**2)
    t0 = lfilter([1], [1, -MEMORY], noise, axis=1)[:, 200 - LATER :]  # its beginning has been forgotten
    t1 = math.sqrt(0.5) * t0[:, :-LATER] + math.sqrt(0.5) * rng.normal(size=(sequences, LOB.sequence_length))
    targets = np.stack([t0[:, LATER:], t1], axis=2)
    x = rng.normal(size=(sequences, LOB.sequence_length, len(LOB.features)))
    for name, k, known in (("p0", 0, KNOWN0), ("v0", 1, KNOWN1)):
        column = LOB.features.index(name)
        x[..., column] = known * targets[..., k] + math.sqrt(1 - known**2) * x[..., column]
    column = LOB.features.index("p1")
    x[..., column] = SCALE * x[..., column] + shift
    return x, targets


def write(path: Path, features: np.ndarray, targets: np.ndarray) -> None:
    """The challenge's format."""
    count, length = features.shape[:2]
    step = np.tile(np.arange(length), count)
    values = np.concatenate([features, targets], axis=2).astype(np.float32).reshape(len(step), -1)
    columns = [np.repeat(np.arange(count), length), step, step >= LOB.warmup_steps, *np.ascontiguousarray(values.T)]
    pq.write_table(pa.table(dict(zip(LOB.columns, columns, strict=True))), path)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """The profile of the data that was made."""
    folder = tmp_path_factory.mktemp("known")
    rng = np.random.default_rng(SEED)
    write(folder / "train.parquet", *made(rng, TRAIN, 0.0))
    write(folder / "valid.parquet", *made(rng, VALID, SHIFT))
    return profile_dataset(load_dataset(folder))


@pytest.fixture(scope="module")
def shown(profile: Profile) -> Page:
    """Its page."""
    return page(profile)


def section(shown: Page, key: str) -> Section:
    return next(part for part in shown.sections if part.key == key)


def traces(shown: Page, key: str, title: str = "") -> dict[str, dict[str, Any]]:
    """What the section's figure of this title draws, by name."""
    figure = next(figure for figure in section(shown, key).figures if figure.title == title)
    return {trace["name"]: trace for trace in figure.spec["data"]}


def by_name(trace: dict[str, Any]) -> dict[str, float]:
    """The values of a figure with names on its vertical axis."""
    return dict(zip(trace["y"], trace["x"], strict=True))


def table(shown: Page, key: str, number: int = 0) -> dict[str, dict[str, Any]]:
    """The lines of the section's table by their first cell."""
    found = section(shown, key).tables[number].records()
    return {str(next(iter(row.values()))): row for row in found}


def test_facts_and_files(shown: Page) -> None:
    """Sizes are counted; every row but those of the warm-up is scored; nothing is broken or repeated."""
    facts = dict(shown.facts)
    assert facts["sequences, train + valid"] == f"{TRAIN} + {VALID}"
    scored = LOB.sequence_length - LOB.warmup_steps
    assert facts["scored rows"] == f"{TRAIN * scored:,} + {VALID * scored:,}"
    files = table(shown, "integrity")
    assert [(row["sequences"], row["rows"], row["repeated"]) for row in files.values()] == [
        (TRAIN, TRAIN * LOB.sequence_length, 0),
        (VALID, VALID * LOB.sequence_length, 0),
    ]


def test_scale(shown: Page) -> None:
    """Mean and deviation of every column, in the figure and in the table."""
    drawn, rows = traces(shown, "scale"), table(shown, "scale")
    for label, mean in (("train", 0.0), ("valid", SHIFT)):
        trace = drawn[label]
        for name, x, error in zip(trace["text"], trace["x"], trace["error_x"]["array"], strict=True):
            assert x == pytest.approx(mean if name == "p1" else 0.0, abs=0.03)
            assert error == pytest.approx(SCALE if name == "p1" else 1.0, abs=0.03)
            assert (rows[name][f"{label} mean"], rows[name][f"{label} std"]) == pytest.approx((x, error), rel=1e-6)
            assert rows[name][f"{label} min"] < -3 < 3 < rows[name][f"{label} max"]


def test_shift(shown: Page) -> None:
    """The KS distance of two normals whose means differ by d deviations is 2 Φ(d/2) - 1; the rest is chance."""
    drawn, rows = traces(shown, "shift"), table(shown, "shift")
    distance, chance = by_name(drawn["train to valid"]), by_name(drawn["within train, by chance"])
    first = drawn["train to valid"]["y"][0]
    assert first == "p1" and rows["p1"]["mean shift / std"] == pytest.approx(SHIFT / SCALE, abs=0.03)
    assert distance["p1"] == pytest.approx(2 * NORMAL.cdf(SHIFT / SCALE / 2) - 1, abs=0.03) and chance["p1"] < 0.05
    for name in set(LOB.features) - {"p1"} & set(rows):
        assert rows[name]["KS"] < 0.05, name
    assert "p1" in section(shown, "shift").finding


def test_memory(shown: Page) -> None:
    """t0's autocorrelation falls by a factor a row, that of its size by a known function of it; t1 follows t0."""
    for part in ("train", "valid"):
        found = traces(shown, "memory", "t0")[part]["y"]
        assert found[:10] == pytest.approx([MEMORY**lag for lag in range(10)], abs=0.03)
        size = traces(shown, "memory", "t0")[f"{part}, of |target|"]["y"]
        assert size[:10] == pytest.approx([size_correlation(MEMORY**lag) for lag in range(10)], abs=0.03)
        across = traces(shown, "memory", "t0 and t1 together")[part]
        assert across["x"][int(np.argmax(across["y"]))] == LATER
        expected = [math.sqrt(0.5) * MEMORY ** abs(lag - LATER) for lag in range(-5, 16)]
        assert across["y"][LAGS - 5 : LAGS + 16] == pytest.approx(expected, abs=0.03)


def size_correlation(r: float) -> float:
    """Correlation of |x| and |y| of two normals of correlation r: (√(1-r²) + r arcsin r - 1) 2/π over 1 - 2/π."""
    return (math.sqrt(1 - r * r) + r * math.asin(r) - 1) * (2 / math.pi) / (1 - 2 / math.pi)


def test_concentration(shown: Page) -> None:
    """The largest share q of a normal's sizes carries exp(-z²/2) of their sum, z its quantile of 1 - q/2; whole
    sequences are nearly alike, so the heaviest half carries about half."""
    for name in ("t0", "t1"):
        for part in ("train", "valid"):
            rows = traces(shown, "concentration", name)[f"{part}, rows"]["y"]
            expected = [100 * math.exp(-(NORMAL.inv_cdf(1 - q / 2) ** 2) / 2) for q in TOP_SHARES]
            assert rows == pytest.approx(expected, abs=1.0)
            assert traces(shown, "concentration", name)[f"{part}, sequences"]["y"][-1] == pytest.approx(53, abs=4)


def test_large_moves(shown: Page, profile: Profile) -> None:
    """After many rows t0 has forgotten: the lift is one. One row later it is what two correlated normals give."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=400_000)
    y = MEMORY * x + math.sqrt(1 - MEMORY**2) * rng.normal(size=x.size)
    limit = NORMAL.inv_cdf(1 - LARGE / 2)
    expected = ((abs(x) > limit) & (abs(y) > limit)).mean() / LARGE**2
    for part in ("train", "valid"):
        lift = traces(shown, "clustering")[f"t0, {part}"]["y"]
        assert lift[0] == pytest.approx(expected, rel=0.1)
        assert np.mean(lift[40:]) == pytest.approx(1, abs=0.1)
    assert profile.train_targets.large_threshold[0] == pytest.approx(limit, rel=0.03)


def test_columns(shown: Page) -> None:
    """Plain correlations are those that were built in, weighted ones follow from them; every other column has none."""
    for k, (name, other, known) in enumerate((("p0", "t0", KNOWN0), ("v0", "t1", KNOWN1))):
        drawn, rows = traces(shown, "columns", other), table(shown, "columns", k)
        assert next(iter(rows)) == name
        for part in ("train", "valid"):
            assert by_name(drawn[f"{part}, plain"])[name] == pytest.approx(known, abs=0.02)
            assert by_name(drawn[f"{part}, weighted"])[name] == pytest.approx(weighted(known), abs=0.02)
            assert rows[name][f"plain, {part}"] == pytest.approx(known, abs=0.02)
            assert all(abs(rows[column][f"plain, {part}"]) < 0.02 for column in set(LOB.features) - {"p0", "v0", name})


def test_ridge(shown: Page) -> None:
    """One row tells of t0 what p0 and v0 say together, of t1 likewise: two linear regressions with a known R."""
    same_row = math.sqrt(0.5) * MEMORY**LATER  # correlation of t0 and t1
    columns = np.array([[1, KNOWN0 * KNOWN1 * same_row], [KNOWN0 * KNOWN1 * same_row, 1]])
    with_t0, with_t1 = np.array([KNOWN0, KNOWN1 * same_row]), np.array([KNOWN0 * same_row, KNOWN1])
    best = [weighted(math.sqrt(c @ np.linalg.solve(columns, c))) for c in (with_t0, with_t1)]
    raw = table(shown, "ridge")["raw columns"]
    assert raw["columns"] == len(LOB.features)
    for part in ("train", "valid"):
        assert [raw[f"{part} t0"], raw[f"{part} t1"]] == pytest.approx(best, abs=0.02)
        assert raw[f"{part} mean"] == pytest.approx(np.mean(best), abs=0.02) and 0 < raw[f"{part} ±"] < 0.02
        assert by_name(traces(shown, "ridge")[part])["raw columns"] == pytest.approx(raw[f"{part} mean"], rel=1e-5)
    assert dict(shown.facts)["ridge on one row, valid"].startswith(f"{raw['valid mean']:.3f}")


def test_importance(shown: Page) -> None:
    """Bid prices hold what is known of t0, bid volumes what is known of t1; other groups are noise."""
    drops = table(shown, "importance")
    groups = {name.split(":")[0]: row for name, row in drops.items()}
    prices, volumes = groups["bid prices"], groups["bid volumes"]
    assert prices["drop t0"] > 0.8 * weighted(KNOWN0) and volumes["drop t1"] > 0.8 * weighted(KNOWN1)
    assert prices["drop t1"] < 0.1 and volumes["drop t0"] < 0.1
    for name in ("ask prices", "ask volumes", "trade prices", "trade volumes"):
        assert abs(groups[name]["drop mean"]) < 4 * max(groups[name]["± mean"], 0.001), name
    drawn = traces(shown, "importance", "Ridge on raw columns")
    assert by_name(drawn["t0"])["bid prices"] == pytest.approx(prices["drop t0"], rel=1e-5)


def test_sentences(profile: Profile, shown: Page) -> None:
    """What stands out is what was built in, in the sentences on top of the page too."""
    assert {part.key: part.finding for part in shown.sections if part.finding} == findings(profile)
    said = findings(profile)
    numbers = {key: [float(x) for x in re.findall(r"(?<![\w.])\d+\.\d+", text)] for key, text in said.items()}
    assert said["shift"].split("): ")[1].startswith("p1 ") and "AUC 1.00" in said["shift"]
    together = math.sqrt(0.5) * MEMORY**LATER
    assert numbers["memory"] == pytest.approx([MEMORY, MEMORY / 2, together, together], abs=0.03)
    fifth = round(100 * math.exp(-(NORMAL.inv_cdf(0.9) ** 2) / 2))
    assert f"t0 {fifth}%, t1 {fifth}%" in said["concentration"]
    raw = table(shown, "ridge")["raw columns"]
    assert numbers["ridge"][0] == pytest.approx(raw["valid mean"], abs=0.001)
