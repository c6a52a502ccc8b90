"""Schema files: what they mean, and each mistake in one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lobmodels.errors import DataError
from lobmodels.metric import METRICS as KNOWN_METRICS
from lobmodels.schema import LOB, Schema
from lobmodels.schema_file import METADATA, METRICS, find_schema, read_schema, schema_yaml

GOOD = """\
features:
  prices: [bid, ask]
  sizes: [bid_size]
targets: [move]
sequence_length: {at_most: 500}
warmup_steps: 20
metric: pearson
clip: 3
"""
LIST = GOOD.replace("features:\n  prices: [bid, ask]\n  sizes: [bid_size]\n", "features: [bid, ask]\n")


def test_a_schema_is_read(tmp_path: Path) -> None:
    """Groups, targets, lengths, metric and clip mean what they say; what is left out has the documented defaults."""
    (tmp_path / "schema.yaml").write_text(GOOD)
    schema = read_schema(tmp_path / "schema.yaml")
    assert schema.features == ("bid", "ask", "bid_size") and schema.targets == ("move",)
    assert schema.column_groups == {"prices": ("bid", "ask"), "sizes": ("bid_size",)}
    assert (schema.sequence_length, schema.variable_length, schema.warmup_steps) == (500, True, 20)
    assert (schema.metric, schema.clip, schema.scored_column) == ("pearson", 3.0, None)
    assert schema.columns == ("seq_ix", "step_in_seq", "bid", "ask", "bid_size", "move")


OWN_METRIC = GOOD.replace("metric: pearson", "metric: {plugin: gain}")


@pytest.mark.parametrize("text", [GOOD, LIST, OWN_METRIC, GOOD + "scored_column: scored\n", schema_yaml(LOB)])
def test_what_is_written_is_read_back(text: str, tmp_path: Path) -> None:
    """As YAML, and as the document that checkpoints and submissions carry; the challenge's own schema included."""
    (tmp_path / "a.yaml").write_text(text)
    schema = read_schema(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text(schema_yaml(schema))
    assert read_schema(tmp_path / "b.yaml") == schema
    assert Schema.of(json.loads(json.dumps(schema.document()))) == schema


def test_where_a_schema_is_found(tmp_path: Path) -> None:
    """Beside the data first, then in the metadata of the file or of train.parquet; else it is the challenge's."""
    table = pa.table({"bid": [1.0]})
    pq.write_table(table, tmp_path / "train.parquet")
    assert find_schema(tmp_path) == find_schema(tmp_path / "train.parquet") == LOB
    document = {"features": ["bid"], "targets": ["move"], "sequence_length": 5}
    pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(document)}), tmp_path / "train.parquet")
    assert find_schema(tmp_path).sequence_length == find_schema(tmp_path / "train.parquet").sequence_length == 5
    (tmp_path / "schema.yaml").write_text(GOOD)
    assert find_schema(tmp_path).sequence_length == find_schema(tmp_path / "train.parquet").sequence_length == 500


def test_the_metrics_are_those_that_are_computed() -> None:
    """A schema file accepts the names that `lobmodels.metric` computes, and no others."""
    assert tuple(KNOWN_METRICS) == METRICS


def changed(**lines: str | None) -> str:
    """`LIST` with the line of a key replaced, added, or left out for None."""
    kept = [line for line in LIST.splitlines() if line.partition(":")[0] not in lines]
    return "\n".join([*kept, *(line for line in lines.values() if line is not None)]) + "\n"


MISTAKES = {
    "empty": ("", "the schema is empty"),
    "a list": ("- features\n", "the schema is a list"),
    "not YAML": ("features: [bid\ntargets: x", "not YAML in line 2"),
    "a key twice": (LIST + "clip: 4\n", "line 7: the key 'clip' occurs twice"),
    "no features": (changed(features=None), "features is missing"),
    "no targets": (changed(targets=None), "targets is missing"),
    "no length": (changed(sequence_length=None), "sequence_length is missing"),
    "an unknown key": (LIST + "warmup: 3\n", "unknown key warmup; did you mean warmup_steps?"),
    "a key of nothing known": (LIST + "colour: red\n", "unknown key colour"),
    "features not a list": (changed(features="features: bid"), "features: 'bid' is not a list of column names"),
    "no feature": (changed(features="features: []"), "features: the list is empty"),
    "no group": (changed(features="features: {}"), "features: there is no group"),
    "an empty group": (changed(features="features: {book: []}"), "features: group 'book': the list is empty"),
    "a group of no list": (changed(features="features: {book: bid}"), "group 'book': 'bid' is not a list"),
    "a number for a name": (changed(features="features: [1, 2]"), "features: 1 is no column name: write it in quotes"),
    "yes for a name": (changed(features="features: [on]"), "features: true is no column name: write it in quotes"),
    "an empty name": (changed(features='features: [""]'), "features: '' is no column name: it is empty"),
    "spaces around a name": (changed(features='features: [" bid"]'), "features: ' bid' is no column name"),
    "a feature twice": (changed(features="features: [bid, bid]"), "column 'bid' is named twice, in features"),
    "a feature as target": (changed(targets="targets: [ask]"), "column 'ask' is named twice, in features and targets"),
    "no target": (changed(targets="targets: []"), "targets: the list is empty"),
    "a target twice": (changed(targets="targets: [a, a]"), "column 'a' is named twice, in targets"),
    "a reserved target": (changed(targets="targets: [mean]"), "targets: 'mean' is a word of run histories"),
    "too many targets": (
        changed(targets=f"targets: [{', '.join(f'y{i}' for i in range(65))}]"),
        "65 are more than the 64",
    ),
    "a length of 0": (changed(sequence_length="sequence_length: 0"), "sequence_length: 0 is not a number of steps"),
    "a length in words": (changed(sequence_length="sequence_length: long"), "'long' is not a number of steps"),
    "a length of true": (changed(sequence_length="sequence_length: true"), "true is not a number of steps"),
    "a length of halves": (changed(sequence_length="sequence_length: 2.5"), "2.5 is not a number of steps"),
    "another form of length": (
        changed(sequence_length="sequence_length: {min: 3}"),
        "sequence_length: give a number, or {at_most: NUMBER}",
    ),
    "at most nothing": (changed(sequence_length="sequence_length: {at_most: null}"), "null is not a number of steps"),
    "a warm-up below 0": (changed(warmup_steps="warmup_steps: -1"), "warmup_steps: -1: input should be greater"),
    "a warm-up in words": (changed(warmup_steps="warmup_steps: some"), "warmup_steps: 'some': input should be"),
    "nothing but warm-up": (changed(warmup_steps="warmup_steps: 500"), "500 leaves nothing of 500 steps to score"),
    "a metric misspelt": (changed(metric="metric: peason"), "'peason' is no metric; did you mean pearson?"),
    "an unknown metric": (changed(metric="metric: 3"), "3 is no metric (known: weighted_pearson, pearson"),
    "a clip of 0": (changed(clip="clip: 0"), "clip: 0: input should be greater than 0"),
    "a clip in words": (changed(clip="clip: none"), "clip: 'none': input should be a valid number"),
    "a clip without end": (changed(clip="clip: .inf"), "clip: inf: input should be a finite number"),
    "a step column that is a feature": (LIST + "step_column: bid\n", "column 'bid' is named twice, in step_column"),
    "one column for two": (LIST + "sequence_column: t\nstep_column: t\n", "in sequence_column and step_column"),
    "no name for a column": (LIST + "sequence_column: 7\n", "sequence_column: 7 is no column name"),
    "a flag for a column": (LIST + "scored_column: yes\n", "scored_column: true is no column name"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_one_clear_line(name: str, tmp_path: Path) -> None:
    """The error names the file, the key and the rule, in one line."""
    text, message = MISTAKES[name]
    path = tmp_path / "schema.yaml"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        find_schema(tmp_path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    assert message in str(error.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """One run of the check is enough to repair a file."""
    path = tmp_path / "schema.yaml"
    path.write_text("features: []\ntargets: [mean, 1]\nmetric: best\nlength: 5\n")
    with pytest.raises(DataError) as error:
        read_schema(path)
    for part in (
        "features: the list",
        "targets: 1 is",
        "metric: 'best'",
        "sequence_length is missing",
        "unknown key length",
    ):
        assert part in str(error.value)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    """A file that is missing, a folder, or not UTF-8, and metadata that is not JSON, are called what they are."""
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_schema(tmp_path / "none.yaml")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_schema(tmp_path / "folder")
    (tmp_path / "latin.yaml").write_bytes("features: [größe]".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8 text"):
        read_schema(tmp_path / "latin.yaml")
    table = pa.table({"bid": [1.0]}).replace_schema_metadata({METADATA: b"{"})
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"its metadata 'lobtuna\.schema' is not JSON"):
        find_schema(tmp_path)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("gain", r"metric: 'gain' is no metric \(known: weighted_pearson, .*; a plugin's is written {plugin: NAME}\)"),
        ("{plugin: r2}", "that one is lobtuna's own; write r2"),
        ("{plugin: [a]}", "name a plugin's metric as {plugin: NAME}"),
        ("{file: gain.py}", "name a plugin's metric as {plugin: NAME}"),
        ("{plugin: gain, clip: 3}", "name a plugin's metric as {plugin: NAME}"),
    ],
)
def test_how_a_plugins_metric_is_named(value: str, said: str, tmp_path: Path) -> None:
    """By its name, as one that a plugin defines; that a built-in one was misspelt stays visible."""
    (tmp_path / "a.yaml").write_text(GOOD.replace("metric: pearson", f"metric: {value}"))
    with pytest.raises(DataError, match=said):
        read_schema(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text(OWN_METRIC)
    assert read_schema(tmp_path / "b.yaml").metric == "gain"
