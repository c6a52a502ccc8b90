"""A profile's figures equal independent formulas on a small set, and its page says them without a network."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lobmodels.config import RunConfig
from lobmodels.data import Dataset, load_dataset, validation_split
from lobmodels.data.synthetic import write_dataset
from lobmodels.errors import DataError
from lobmodels.inputs import append_features
from lobmodels.metric import weighted_pearson
from lobmodels.profile import Profile, profile_dataset, tables
from lobmodels.profile.chunks import ALL_GROUPS, Chunk, all_feature_names, column_groups, map_chunks
from lobmodels.profile.findings import findings
from lobmodels.profile.importance import profile_run, scores_of, sequence_sums
from lobmodels.profile.moments import measure
from lobmodels.profile.ridge import RAW, fit_ridges
from lobmodels.profile.shift import adversarial_auc, auc, ks_by_chance, ks_distance
from lobmodels.profile.targets import LAGS, LARGE, TOP_SHARES
from lobmodels.training.run import RunData, TrainingRun

WARMUP = 99


@pytest.fixture(scope="module")
def profile(small_dataset: Dataset) -> Profile:
    """Profile of the small set."""
    return profile_dataset(small_dataset)


@pytest.fixture(scope="module")
def rows(small_dataset: Dataset) -> dict[str, np.ndarray]:
    """Everything of both files in one array each: features with all groups, and targets."""
    found = {}
    for name in ("train", "valid"):
        part = getattr(small_dataset, name)
        found[f"{name} x"] = append_features(torch.from_numpy(np.array(part.features)), ALL_GROUPS).numpy()
        found[f"{name} y"] = np.array(part.targets, dtype=np.float64)
    return found


def weighted_correlation(x: np.ndarray, y: np.ndarray) -> float:
    w = np.maximum(np.abs(y), 1e-8)
    x, y = x - (w * x).sum() / w.sum(), y - (w * y).sum() / w.sum()
    return (w * x * y).sum() / np.sqrt((w * x * x).sum() * (w * y * y).sum())


def test_scale_and_correlations(profile: Profile, rows: dict[str, np.ndarray]) -> None:
    """Moments are of all rows, correlations of scored rows, plain and weighted by |target|, for every feature."""
    assert [column.name for column in profile.columns] == list(all_feature_names())
    assert len(profile.columns) == 66
    for j, column in enumerate(profile.columns):
        for part in ("train", "valid"):
            x, y = rows[f"{part} x"][:, :, j], rows[f"{part} y"]
            np.testing.assert_allclose(
                getattr(column, part), [x.mean(), x.std(), x.min(), x.max()], rtol=1e-7, atol=1e-9
            )
            scored = x[:, WARMUP:].ravel()
            for k in range(2):
                target = y[:, WARMUP:, k].ravel()
                plain = np.corrcoef(scored, target)[0, 1]
                assert getattr(column, f"plain_{part}")[k] == pytest.approx(plain, abs=1e-9)
                expected = weighted_correlation(scored, target)
                assert getattr(column, f"weighted_{part}")[k] == pytest.approx(expected, abs=1e-9)


def test_constant_column_is_no_error(small_dataset: Dataset, tmp_path: Path) -> None:
    """A column that never moves correlates with nothing and shifts nowhere; no warning, no NaN in any table."""
    train, valid = (np.array(getattr(small_dataset, part).features) for part in ("train", "valid"))
    train[:, :, 30] = valid[:, :, 30] = 0.0
    flat = Dataset(replace(small_dataset.train, features=train), replace(small_dataset.valid, features=valid), "flat")
    with np.errstate(all="raise", under="ignore"):
        found = profile_dataset(flat)
    column = found.columns[30]
    assert (column.ks, column.mean_shift) == (0.0, 0.0)
    assert column.plain_train == column.weighted_valid == (0.0, 0.0)
    for table in tables(found).values():
        numbers = [value for row in table.rows for value in row if isinstance(value, float)]
        assert np.isfinite(numbers).all()


def test_chunks_keep_order_and_bound_memory(small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results come in the order of the sequences, and work is not started far ahead of what was taken."""
    some = np.array([5, 3, 20])
    features = next(map_chunks(small_dataset.train, lambda chunk: chunk.features, some))
    np.testing.assert_array_equal(features[:, :, :32].numpy(), small_dataset.train.features[some])
    monkeypatch.setattr("lobmodels.profile.chunks.SEQUENCES", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    started: list[int] = []

    def work(chunk: Chunk) -> int:
        started.append(chunk.first)
        return chunk.first

    walk = map_chunks(small_dataset.train, work)
    assert [next(walk) for _ in range(3)] == [0, 1, 2]
    assert len(started) <= 3 + 2 * 2
    assert list(walk) == list(range(3, 24))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-4, 4), min_size=1, max_size=12),
    st.lists(st.integers(-4, 4), min_size=1, max_size=12),
)
def test_ks_and_auc_by_definition(a: list[int], b: list[int]) -> None:
    """Both equal their definitions, counted out, with ties."""
    x, y = np.array(a, dtype=np.float32), np.array(b, dtype=np.float32)
    grid = sorted({*a, *b})
    gap = max(abs(np.mean(x <= g) - np.mean(y <= g)) for g in grid)
    assert ks_distance(x, y) == pytest.approx(gap, abs=1e-12)
    assert ks_distance(y, x) == pytest.approx(gap, abs=1e-12)
    pairs = [(v > u) + 0.5 * (v == u) for u in a for v in b]
    assert auc(x, y) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_chance_is_ks_of_whole_sequences() -> None:
    """What chance would show is the mean KS distance between drawn sequences and the others, ties and all."""
    rng = np.random.default_rng(1)
    owners = np.repeat(np.arange(10), 30)
    column = rng.integers(0, 9, len(owners)).astype(np.float32)
    expected = []
    draw = np.random.default_rng(4)
    for _ in range(3):
        chosen = np.isin(owners, draw.choice(10, 3, replace=False))
        expected.append(ks_distance(column[chosen], column[~chosen]))
    found = ks_by_chance(np.stack([column, -column], axis=1), owners, 3, seed=4)
    np.testing.assert_allclose(found, np.mean(expected), atol=1e-12)
    assert ks_by_chance(column[:30, None], owners[:30], 3).tolist() == [0.0]  # one sequence: nothing to hold out


def test_shift_by_chance_and_adversarial() -> None:
    """No shift: KS like chance's and an area of .5. A shift of one column by one deviation: both see it."""
    rng = np.random.default_rng(0)
    owners = {"train": np.repeat(np.arange(200), 20), "valid": np.repeat(np.arange(60), 20)}
    train, same = (rng.standard_normal((len(owner), 3)).astype(np.float32) for owner in owners.values())
    chance = ks_by_chance(train, owners["train"], 60)
    assert all(abs(ks_distance(train[:, j], same[:, j]) - chance[j]) < 0.04 for j in range(3))
    nothing = adversarial_auc(train, owners["train"], same, owners["valid"])
    assert nothing.rows == pytest.approx(0.5, abs=0.05) and nothing.sequences == pytest.approx(0.5, abs=0.15)
    moved = same + np.array([1, 0, 0], np.float32)
    seen = adversarial_auc(train, owners["train"], moved, owners["valid"])
    assert seen.rows == pytest.approx(0.76, abs=0.03)  # Φ(1/√2)
    assert seen.sequences > 0.95
    assert ks_distance(train[:, 0], moved[:, 0]) == pytest.approx(0.38, abs=0.04)  # 2Φ(1/2) - 1


def test_targets_by_definition(profile: Profile, rows: dict[str, np.ndarray]) -> None:
    """Autocorrelation, lift, concentration and effective sequences equal their definitions."""
    y, found = rows["train y"], profile.train_targets
    centred = y - y.mean((0, 1))
    size = np.abs(y)
    large = size > np.quantile(size.reshape(-1, 2), 1 - LARGE, axis=0)
    for lag in (1, 7, LAGS):
        product = (centred[:, lag:] * centred[:, :-lag]).mean((0, 1)) / (centred**2).mean((0, 1))
        np.testing.assert_allclose(found.autocorrelation[lag], product, rtol=1e-6, atol=1e-9)
        lift = (large[:, lag:] & large[:, :-lag]).sum((0, 1)) / large[:, :-lag].sum((0, 1)) / large.mean((0, 1))
        np.testing.assert_allclose(found.large_lift[lag], lift, rtol=2e-2)
    later = (centred[:, :-9, 0] * centred[:, 9:, 1]).mean() / np.sqrt(np.prod((centred**2).mean((0, 1))))
    assert found.cross_correlation[LAGS + 9] == pytest.approx(later, abs=1e-9)
    earlier = (centred[:, 9:, 0] * centred[:, :-9, 1]).mean() / np.sqrt(np.prod((centred**2).mean((0, 1))))
    assert found.cross_correlation[LAGS - 9] == pytest.approx(earlier, abs=1e-9)
    assert found.correlation == pytest.approx(np.corrcoef(y.reshape(-1, 2).T)[0, 1], abs=1e-9)
    weight = np.sort(size[:, WARMUP:].reshape(-1, 2), axis=0)[::-1]
    for i, share in enumerate(TOP_SHARES):
        expected = weight[: round(share * len(weight))].sum(0) / weight.sum(0)
        np.testing.assert_allclose(found.top_share[i], expected, rtol=1e-6)
    per_sequence = size[:, WARMUP:].sum(1)
    np.testing.assert_allclose(
        found.effective_sequences, per_sequence.sum(0) ** 2 / (per_sequence**2).sum(0), rtol=1e-6
    )


def test_ridge_is_the_ridge(small_dataset: Dataset, profile: Profile, rows: dict[str, np.ndarray]) -> None:
    """Weights equal a direct solution on standardised scored rows; scores equal the metric of its forecasts."""
    scores = {item.ridge.name: item for item in profile.ridges.scores}
    ridge = scores[RAW].ridge
    x, y = rows["train x"][:, WARMUP:, :32].reshape(-1, 32), rows["train y"][:, WARMUP:].reshape(-1, 2)
    mean, std = x.mean(0), x.std(0)
    z = (x - mean) / std
    for k in range(2):
        penalty = ridge.penalties[k] * len(z)
        beta = np.linalg.solve(z.T @ z + penalty * np.eye(32), z.T @ (y[:, k] - y[:, k].mean()))
        np.testing.assert_allclose(ridge.weights[:32, k], beta / std, rtol=1e-5, atol=1e-9)
        assert ridge.intercept[k] == pytest.approx(y[:, k].mean() - mean @ (beta / std), abs=1e-8)
    assert (ridge.weights[32:] == 0).all()
    for part in ("train", "valid"):
        forecast = rows[f"{part} x"][:, WARMUP:] @ ridge.weights + ridge.intercept
        expected = weighted_pearson(forecast, rows[f"{part} y"][:, WARMUP:])
        np.testing.assert_allclose(getattr(scores[RAW], part).values, expected, atol=1e-5)
    assert len(scores) == 7 and len(scores["all features"].ridge.columns) == 66


def test_penalty_is_chosen_on_held_out_folds() -> None:
    """Where columns are pure noise the largest penalty wins; where they explain everything, a small one."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 66))
    signal = np.stack([x @ rng.standard_normal(66), rng.standard_normal(400)], axis=1)
    z = np.concatenate([x, signal, np.ones((400, 1))], axis=1)
    gram = np.stack([z[fold::5].T @ z[fold::5] for fold in range(5)])
    fitted = fit_ridges(gram, 2)[-1]
    assert fitted.penalties[0] < 1e-3 and fitted.penalties[1] == 1e-1


def test_ridge_importance_is_that_of_permuted_columns(
    small_dataset: Dataset, profile: Profile, rows: dict[str, np.ndarray]
) -> None:
    """Permuting a group's part of the forecast is permuting its columns; what carries the signal costs most."""
    ridge = next(item.ridge for item in profile.ridges.scores if item.ridge.name == RAW)
    x = rows["valid x"][:, WARMUP:]
    target = rows["valid y"][:, WARMUP:]
    base = weighted_pearson(x @ ridge.weights + ridge.intercept, target)
    found = {item.group: item for item in profile.ridges.importance[RAW]}
    assert set(found) == {name for name in column_groups(()) if name not in ALL_GROUPS}
    moved = x.copy().reshape(-1, 66)
    columns = column_groups()["bid volumes"]
    moved[:, columns] = moved[np.random.default_rng(5).permutation(len(moved))][:, columns]
    drop = base - weighted_pearson(moved.reshape(x.shape) @ ridge.weights + ridge.intercept, target)
    np.testing.assert_allclose(found["bid volumes"].drop.values, drop, atol=0.02)
    assert {item.group for item in profile.ridges.importance[RAW][:2]} == {"bid volumes", "ask volumes"}


def test_errors_are_over_sequences() -> None:
    """The error of a score shrinks as one over the root of the number of sequences."""
    rng = np.random.default_rng(0)
    y = rng.standard_normal((400, 50, 2))
    p = y + 2 * rng.standard_normal(y.shape)
    few, many = (scores_of(sequence_sums(p[:n], y[:n])) for n in (100, 400))
    np.testing.assert_allclose(many.values, weighted_pearson(p, y), atol=1e-12)
    assert few.mean_error / many.mean_error == pytest.approx(2, rel=0.3)


@pytest.fixture(scope="module")
def run(small_dataset: Dataset):  # type: ignore[no-untyped-def]
    """A checkpoint of one short run with a group of derived features."""
    config = RunConfig.parse(
        {
            "architecture": "gru",
            "hidden_size": 8,
            "num_layers": 1,
            "epochs": 1,
            "batch_size": 8,
            "lr": 0.01,
            "derived": True,
        }
    )
    training = TrainingRun(config, 0, RunData.prepare(small_dataset, config, report_fraction=0.25))
    training.train_epoch()
    return training.result("study#0")


def test_run_importance(small_dataset: Dataset, run) -> None:  # type: ignore[no-untyped-def]
    """A trained run is asked about its input groups, on the sequences that selection never saw, and says which."""
    found = profile_run(run, small_dataset.valid)
    _, report = validation_split(12, 0.25)
    assert found.sequences == len(report) == 3
    assert "reporting sequences" in found.which
    expected = weighted_pearson(
        run.predict(small_dataset.valid.features[report])[:, WARMUP:], small_dataset.valid.targets[report, WARMUP:]
    )
    np.testing.assert_allclose(found.scores.values, expected, atol=1e-5)
    assert {item.group for item in found.importance} == {*column_groups(("derived",))}
    other = profile_run(run, small_dataset.train)
    assert other.sequences == 24 and "other validation data" in other.which
    with pytest.raises(DataError, match="at least two"):
        profile_run(run, replace(small_dataset.train, seq_ix=small_dataset.train.seq_ix[:1]))


def test_run_that_ignores_its_inputs_leans_on_nothing(small_dataset: Dataset, run) -> None:  # type: ignore[no-untyped-def]
    """With the weights of one group cut, permuting that group costs exactly nothing."""
    weights = {name: tensor.clone() for name, tensor in run.weights.items()}
    first = next(name for name in weights if name.endswith("weight_ih_l0"))
    columns = column_groups(("derived",))["ask volumes"]
    weights[first][:, columns] = 0
    found = {item.group: item for item in profile_run(replace(run, weights=weights), small_dataset.valid).importance}
    assert (found["ask volumes"].drop.values == 0).all() and found["ask volumes"].drop.mean_error == 0
    assert found["bid volumes"].drop.mean != 0


def test_tables(profile: Profile) -> None:
    """Every table is rectangular, holds plain numbers and says what the profile says."""
    found = tables(profile)
    for table in found.values():
        assert all(len(row) == len(table.columns) for row in table.rows) and table.rows
        assert {type(value) for row in table.rows for value in row} <= {str, int, float}
    columns = found["columns"]
    for row, column in zip(columns.rows, profile.columns, strict=True):
        line = dict(zip(columns.columns, row, strict=True))
        assert (line["column"], line["ks"]) == (column.name, column.ks)
        assert (line["weighted_valid_t1"], line["plain_train_t0"]) == (column.weighted_valid[1], column.plain_train[0])


def test_findings_name_what_they_should(profile: Profile) -> None:
    """The simulator's shift, its clustering and its strongest columns are among the sentences."""
    text = "\n".join(findings(profile).values())
    assert "no sequence occurs twice" in text
    assert re.search(r"KS distance\): p\d", text)
    assert "A ridge on the raw columns of one row scores 0." in text
    repeated = replace(profile, shared=3, valid=replace(profile.valid, repeated=2))
    text = "\n".join(findings(repeated).values())
    assert "3 of 12 validation sequences are in train too" in text and "2 sequences repeat" in text


def test_small_sets(tmp_path: Path) -> None:
    """Two sequences in each file are enough for a profile, one sentence says what they do not support."""
    write_dataset(tmp_path / "data", train=2, valid=2)
    found = profile_dataset(load_dataset(tmp_path / "data"))
    assert "too few to ask a classifier" in "\n".join(findings(found).values())


def test_sample_sees_every_step(small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thinned rows fall on all steps of a sequence, not on the same few in each."""
    monkeypatch.setattr("lobmodels.profile.moments.SAMPLE_ROWS", 3000)
    found = measure(small_dataset.train)
    assert 2000 < len(found.sample) <= 3500
    flat = np.array(small_dataset.train.features).reshape(-1, 32)
    stride = next(s for s in range(8, 20) if np.array_equal(found.sample[:50, :32], flat[::s][:50]))
    assert np.gcd(stride, 1000) == 1
    np.testing.assert_array_equal(found.sample[:, :32], flat[::stride])
    np.testing.assert_array_equal(found.sample_sequence, np.arange(0, 24000, stride) // 1000)
