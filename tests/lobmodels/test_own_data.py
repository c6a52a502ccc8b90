"""Data with a schema of its own goes the whole way, and what cannot follow the schema refuses it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from lobmodels.bootstrap import scores_from, sequence_statistics
from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.data import Dataset, load_dataset
from lobmodels.ensemble import blend, graph
from lobmodels.ensemble.bundle import Bundle, read_submission, write_submission
from lobmodels.errors import BundleError, ConfigError, DataError
from lobmodels.features import GROUPS
from lobmodels.inputs import InputPipeline, append_features, available_groups, columns_read
from lobmodels.metric import METRICS, score
from lobmodels.plugins.agreement import check_features
from lobmodels.plugins.loading import load_file
from lobmodels.profile import profile_dataset
from lobmodels.schema import LOB, Schema
from lobmodels.scoring.scoreboard import Tally, compare_tallies
from lobmodels.scoring.submission import score_submission
from lobmodels.scoring.verify import verify
from lobmodels.training.batches import RunData
from lobmodels.training.losses import LOSSES, build_loss
from lobmodels.training.run import TrainingRun
from lobmodels.training.scores import StreamingScore
from tests.lobmodels.own_data import COLUMNS, FIXED, VARIABLE, write_data
from tests.plugin_files import forgotten

TINY = {"hidden_size": 6, "num_layers": 1, "batch_size": 4, "epochs": 2, "normalizer": "zscore"}


def trained(dataset: Dataset, seed: int = 0, **values: object) -> Checkpoint:
    """The result of a short run, as it is read back from its bytes."""
    run = TrainingRun(RunConfig.parse(TINY | values), seed, RunData.prepare(dataset, RunConfig.parse(TINY | values)))
    while not run.finished:
        run.train_epoch()
    return Checkpoint.from_bytes(run.result(f"own#{seed}").to_bytes())


BOOK = replace(FIXED, features=("c0", "v8", "p6", "c1", "p0", "v2"))  # what the feature group `interaction` reads


@pytest.mark.parametrize(
    ("schema", "groups"),
    [pytest.param(VARIABLE, {}, marks=pytest.mark.soak), (BOOK, {"interaction": True})],
    ids=["variable lengths, ten columns, one target", "three targets, features of columns in another order"],
)
def test_the_whole_way(schema: Schema, groups: dict[str, bool], tmp_path: Path) -> None:
    """Trained, exported, verified to 1e-5 row by row, and scored with the metric of the schema, which goes
    with checkpoint and submission."""
    dataset = load_dataset(write_data(tmp_path / "data", schema))
    valid = dataset.valid
    members = [trained(dataset, seed, **groups) for seed in (0, 1)]
    assert members[0].schema == schema and set(members[0].history[0]) > {*schema.targets, "mean"}
    path = tmp_path / "own.zip"
    write_submission(path, Bundle.of(members))
    checks = verify(path, valid, sequences=3)
    assert all(check.ok for check in checks) and {check.name for check in checks} >= {"reset", "no reset", "average"}
    assert read_submission(path).schema == schema
    found = score_submission(path, valid)
    predicted = Bundle.of(members).predict(valid.features)
    rows = [slice(schema.warmup_steps, length) for length in valid.lengths.tolist()]
    p = np.concatenate([predicted[i, part] for i, part in enumerate(rows)])
    y = np.concatenate([valid.targets[i, part] for i, part in enumerate(rows)])
    assert [*found.overall.scores] == [*schema.targets]
    assert [*found.overall.scores.values()] == pytest.approx(score(p, y, schema).tolist(), abs=1e-4)
    tally = Tally.of(found)
    tally.save(tmp_path / "score.npz")
    again = Tally.load(tmp_path / "score.npz")
    assert again.schema == schema
    assert scores_from(again.statistics.sum(0), schema) == pytest.approx([*found.overall.scores.values()], abs=1e-9)


def test_the_graph_follows_the_schema(tmp_path: Path) -> None:
    """ONNX: its own columns and targets, features of columns in another order."""
    pytest.importorskip("onnxruntime")
    dataset = load_dataset(write_data(tmp_path / "data", BOOK))
    bundle = Bundle.of([trained(dataset, interaction=True, head="mlp_per_target")])
    data = graph.graph_bytes(bundle)
    assert graph.check(data, bundle) <= graph.TOLERANCE


def test_what_lies_behind_an_end_changes_nothing(tmp_path: Path) -> None:
    """Scores, normaliser and weights are the same, bit by bit, with more padding; a batch is cut to its longest."""
    short = load_dataset(write_data(tmp_path / "data"))
    wide = replace_arrays(short, 25)
    a, b = trained(short), trained(wide)
    assert all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)
    assert a.scores == b.scores and a.prediction_std == b.prediction_std
    data = RunData.prepare(wide, RunConfig.parse(TINY))
    for x, y in data.train.batches(torch.arange(len(data.train)), 3):
        assert len(x) == len(y) + VARIABLE.warmup_steps and not y[-1].isnan().all()
    rows = np.concatenate([short.train.features[i, :n] for i, n in enumerate(short.train.lengths.tolist())])
    assert data.pipeline.normalizer is not None
    assert data.pipeline.normalizer.mean == pytest.approx(rows.mean(0, dtype=np.float64), abs=1e-9)


def replace_arrays(dataset: Dataset, steps: int) -> Dataset:
    """The same sequences with more padding behind them."""
    parts = []
    for part in (dataset.train, dataset.valid):
        n = len(part)
        features = np.concatenate([part.features, np.zeros((n, steps, part.features.shape[2]), np.float32)], 1)
        targets = np.concatenate([part.targets, np.full((n, steps, 1), np.nan, np.float32)], 1)
        parts.append(replace(part, features=features, targets=targets))
    return Dataset(parts[0], parts[1], dataset.fingerprint)


@pytest.mark.parametrize("loss", [name for name in LOSSES.names if "pearson" not in name])
def test_a_loss_leaves_out_what_lies_behind_an_end(loss: str) -> None:
    """Equal to the loss of the rows alone; no gradient is lost or becomes NaN."""
    rng = torch.Generator().manual_seed(0)
    y = torch.randn(9, 3, 1, generator=rng)
    p = torch.randn(9, 3, 1, generator=rng, requires_grad=True)
    padded = y.clone()
    padded[6:, 1], padded[4:, 2] = torch.nan, torch.nan
    config = RunConfig.parse({"loss": loss, "temporal_consistency": 0.3})
    value = build_loss(config, schema=VARIABLE)(p, padded)
    value.backward()
    there = ~padded[..., 0].isnan()
    plain = build_loss(RunConfig.parse({"loss": loss}), schema=replace(VARIABLE, variable_length=False))
    changes = torch.cat([(p - y)[:n, i].diff(dim=0) for i, n in enumerate((9, 6, 4))])
    assert value.item() == pytest.approx((plain(p[there], y[there]) + 0.3 * changes.square().mean()).item(), rel=1e-5)
    assert p.grad is not None and not p.grad.isnan().any() and (p.grad[..., 0][~there] == 0).all()


@pytest.mark.parametrize("metric", METRICS)
def test_one_metric_three_ways(metric: str) -> None:
    """Whole, streamed and from sums over sequences, with sequences of different lengths, a metric gives the same."""
    schema = replace(VARIABLE, metric=metric, clip=2.0)
    rng = np.random.default_rng(3)
    y = rng.standard_t(3, (7, 50, 2)).astype(np.float32)
    p = (0.4 * y + rng.standard_normal(y.shape)).astype(np.float32)
    y[2, 31:], y[5, 12:] = np.nan, np.nan
    there = ~np.isnan(y[..., 0])
    stream = StreamingScore(replace(schema, targets=("a", "b")))
    for part in (slice(0, 3), slice(3, 7)):
        keep = there[part]
        stream.update(torch.from_numpy(p[part][keep]), torch.from_numpy(y[part][keep]))
    whole = score(p, y, schema)
    assert stream.compute().numpy() == pytest.approx(whole, abs=1e-12)
    assert scores_from(sequence_statistics(p, y, schema).sum(0), schema) == pytest.approx(whole, abs=1e-9)
    assert whole == pytest.approx(by_definition(metric, np.clip(p[there], -2, 2), y[there]), abs=1e-6)


def by_definition(metric: str, p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The metric with numpy's own functions."""
    p, y = p.astype(np.float64), y.astype(np.float64)
    if metric == "sign_accuracy":
        return (np.sign(p) == np.sign(y)).mean(0)
    if metric in ("r2", "mse"):
        error = ((p - y) ** 2).mean(0)
        return -error if metric == "mse" else 1 - error / y.var(0)
    weights = [np.abs(y[:, k]) if metric == "weighted_pearson" else np.ones(len(y)) for k in range(2)]
    moments = [np.cov(p[:, k], y[:, k], aweights=weights[k], ddof=0) for k in range(2)]
    return np.array([m[0, 1] / np.sqrt(m[0, 0] * m[1, 1]) for m in moments])


def test_constants_score_zero_under_every_correlation() -> None:
    """A prediction that does not vary scores 0; targets that are all 0 have no sign to hit."""
    y = np.random.default_rng(0).normal(size=(40, 1))
    for metric in ("weighted_pearson", "pearson"):
        assert score(np.full_like(y, 0.3), y, replace(VARIABLE, metric=metric)).tolist() == [0]
    assert score(y, np.zeros_like(y), replace(VARIABLE, metric="sign_accuracy")).tolist() == [0]


def test_feature_groups_find_their_columns() -> None:
    """A group needs its own columns, wherever they stand; the same rows in another order give the same features, in
    training as online."""
    order = np.random.default_rng(0).permutation(32)
    moved = replace(LOB, features=("extra", *(LOB.features[i] for i in order)), groups=())
    rows = torch.randn(2, 30, 32, generator=torch.Generator().manual_seed(0))
    other = torch.cat([torch.ones(2, 30, 1), rows[..., order]], -1)
    groups = tuple(GROUPS)
    assert available_groups(moved) == groups
    expected = append_features(rows, groups, LOB)[..., 32:]
    assert torch.equal(append_features(other, groups, moved)[..., 33:], expected)
    few = replace(LOB, features=("p0", "p6", "v2", "v8"), groups=())
    assert available_groups(few) == ("interaction",)
    assert [LOB.features[i] for i in columns_read("interaction")] == ["p0", "p6", "v2", "v8"]
    with pytest.raises(ConfigError, match="lag=True reads columns that the data does not have: v0, dp0"):
        InputPipeline(("lag",), None, few)


def test_numbers_of_other_types_are_cast(tmp_path: Path) -> None:
    """Double and integer columns are read as float32; the content, and so the fingerprint, is that of the float32
    file."""
    folder = write_data(tmp_path / "data", FIXED)
    expected = load_dataset(folder, tmp_path / "a")
    for name in ("train", "valid"):
        table = pq.read_table(folder / f"{name}.parquet")
        types = [pa.float64() if pa.types.is_floating(field.type) else pa.int16() for field in table.schema]
        cast = pa.table(
            [column.cast(kind) for column, kind in zip(table.columns, types, strict=True)], table.column_names
        )
        pq.write_table(cast.append_column("note", pa.array(["x"] * len(cast))), folder / f"{name}.parquet")
    assert load_dataset(folder, tmp_path / "b").fingerprint == expected.fingerprint


def test_a_schema_belongs_to_the_identity_of_data(tmp_path: Path) -> None:
    """The same rows under another metric or warm-up are other data: a study is bound to one of them."""
    folder = write_data(tmp_path / "data", FIXED)
    found = {
        load_dataset(folder, schema=replace(FIXED, **change)).fingerprint
        for change in ({}, {"metric": "r2"}, {"clip": 2.0})
    }
    assert len(found) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequence_length": 20}, "steps, more than at_most 20 of the schema"),
        ({"warmup_steps": 30}, "all of them in the warm-up of 30: nothing of it would be scored"),
        ({"features": (*COLUMNS, "c10")}, "missing column c10"),
        ({"targets": ("step",)}, "missing column step"),
        ({"scored_column": "scored"}, "missing column scored"),
        ({"variable_length": False}, "steps, not 60"),
    ],
)
def test_data_that_is_not_as_its_schema_says(change: dict, message: str, tmp_path: Path) -> None:  # type: ignore[type-arg]
    """Whatever the data breaks of its schema is one clear line with its place."""
    folder = write_data(tmp_path / "data")
    with pytest.raises(DataError, match=r"train\.parquet: ") as error:
        load_dataset(folder, schema=replace(VARIABLE, **change))
    assert message in str(error.value)


def test_what_does_not_follow_a_schema_refuses_it(tmp_path: Path) -> None:
    """Profile, fitted weights and losses that know the challenge's score alone say so in one line."""
    dataset = load_dataset(write_data(tmp_path / "data"))
    with pytest.raises(DataError, match="the profile knows the metric weighted_pearson and sequences of one length"):
        profile_dataset(dataset)
    with pytest.raises(BundleError, match="not the metric r2: use uniform weights"):
        blend.require_fittable("weights=shrunk", replace(FIXED, metric="r2"))
    with pytest.raises(ConfigError, match="clip null: choose another loss"):
        build_loss(RunConfig.parse({"loss": "pearson_combined"}), schema=VARIABLE)
    with pytest.raises(ConfigError, match="weigh two targets, and the data has 3"):
        build_loss(RunConfig.parse({"t0_weight": 2.0}), schema=FIXED)
    members = [trained(dataset), trained(load_dataset(write_data(tmp_path / "other", FIXED)), 1)]
    with pytest.raises(BundleError, match="different schemas"):
        Bundle.of(members)


OWN_PARTS = """
import numpy as np
import torch
from lobtuna.plugins import features, metric

@features("since", reads=["c1", "c0"], gives=["c0_before", "rows"])
class Since:
    def __init__(self, config):
        pass

    def initial_state(self, batch):
        return (torch.zeros(batch, dtype=torch.float64), torch.zeros(batch, dtype=torch.int64))

    def forward(self, x):
        before = torch.cat([torch.zeros_like(x[:1, :, 1]), x[:-1, :, 1]])
        return torch.stack([before, torch.arange(1, len(x) + 1)[:, None].expand(before.shape)], -1)

    def forward_step(self, x, state):
        rows = state[1] + 1
        return torch.stack([state[0], rows.double()], -1), (x[:, 1], rows)

@metric("closest")
def closest(p, y, w):
    return -np.median(np.abs(p - y), 0)
"""


def test_parts_of_a_plugin_go_the_whole_way(tmp_path: Path) -> None:
    """Lengths that differ, one target, a user's features with states of two types and a user's metric without sums:
    trained, verified to 1e-5 row by row, scored, kept as a champion and compared."""
    (tmp_path / "parts.py").write_text(OWN_PARTS)
    with forgotten():
        load_file(tmp_path / "parts.py")
        check_features("since")
        schema = replace(VARIABLE, metric="closest", clip=2.0)
        dataset = load_dataset(write_data(tmp_path / "data", schema))
        members = [trained(dataset, seed, since=True) for seed in (0, 1)]
        assert members[0].pipeline.names[-2:] == ("c0_before", "rows") and not members[0].sequence_sums
        assert members[0].score is not None and -2 < members[0].score < 0
        paths = [tmp_path / "both.zip", tmp_path / "first.zip"]
        write_submission(paths[0], Bundle.of(members))
        write_submission(paths[1], Bundle.of(members[:1]))
        checks = verify(paths[0], dataset.valid, sequences=3)
        assert all(check.ok for check in checks)
        scores = [score_submission(path, dataset.valid) for path in paths]
        predicted = Bundle.of(members).predict(dataset.valid.features)[:, schema.warmup_steps :]
        expected = score(predicted, scores[0].targets, schema)
        assert [*scores[0].overall.scores.values()] == pytest.approx(expected.tolist(), abs=1e-5)
        Tally.of(scores[1]).save(tmp_path / "champion.npz")
        tallies = [Tally.of(scores[0]), Tally.load(tmp_path / "champion.npz")]
        comparison, on = compare_tallies(tallies, str(paths[1]), on="all", repetitions=20)
        assert on == "all" and comparison.rows[0].mean == pytest.approx(scores[0].overall.mean, abs=1e-12)
        assert comparison.rows[1].difference is None and comparison.rows[0].spread > 0
