"""Predictions are computed once, kept by what decides them, and never read from a damaged file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lobmodels.checkpoint import Checkpoint
from lobmodels.data import Dataset, Sequences
from lobmodels.ensemble.predictions import digest, predict_all, scored_targets
from lobmodels.plugins.loading import load_file
from tests.lobmodels.ensemble.made_runs import run
from tests.plugin_files import blocks_of_files, forgotten


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("LOBTUNA_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the members that were computed."""
    computed: list[str] = []
    predict = Checkpoint.predict

    def counted(self: Checkpoint, *arguments: object) -> object:
        computed.append(self.name)
        return predict(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Checkpoint, "predict", counted)
    yield computed


@pytest.fixture
def valid(small_dataset: Dataset) -> Sequences:
    return small_dataset.valid


def test_computed_once(valid: Sequences, calls: list[str]) -> None:
    """Scored steps of every member; a second time, and for a member of another name, they come from the cache."""
    members = [run("a#0", 0, hidden_size=4, num_layers=1), run("a#1", 1, hidden_size=4, num_layers=1)]
    told: list[tuple[int, int]] = []
    first = predict_all(members, valid, "cpu", lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)] and calls == ["a#0", "a#1"]
    assert [part.shape for part in first] == [(12, 901, 2)] * 2
    np.testing.assert_array_equal(first[0], members[0].predict(valid.features)[:, 99:])
    calls.clear()
    again = predict_all([dataclasses.replace(members[0], name="b#7")], valid, "cpu")
    assert calls == [] and np.array_equal(again[0], first[0])


def test_what_decides_them_is_in_the_name(valid: Sequences, calls: list[str]) -> None:
    """Other weights, another normaliser or other data are computed anew."""
    member = run("a#0", 0, hidden_size=4, num_layers=1, normalizer="zscore")
    assert member.pipeline.normalizer is not None
    scaled = dataclasses.replace(member.pipeline.normalizer, std=2 * member.pipeline.normalizer.std)
    others = [
        dataclasses.replace(member, weights={name: 2 * tensor for name, tensor in member.weights.items()}),
        dataclasses.replace(member, pipeline=dataclasses.replace(member.pipeline, normalizer=scaled)),
    ]
    predict_all([member, *others], valid, "cpu")
    predict_all([member], dataclasses.replace(valid, fingerprint="other"), "cpu")
    assert len(calls) == 4


def test_the_source_of_a_plugin_is_in_the_name(tmp_path: Path) -> None:
    """The same configuration and weights under a changed source are computed anew; lobtuna's own networks are not."""
    file, own = tmp_path / "causal.py", run("a#0", 0, hidden_size=4, num_layers=1)
    before = digest(own)
    with forgotten():
        file.write_text(blocks_of_files()["causal.py"])
        load_file(file)
        member = run("a#1", 0, architecture="causal_conv", hidden_size=4)
        first = digest(member)
        file.write_text(file.read_text().replace("torch.relu", "torch.tanh"))
        load_file(file)
        assert digest(member) != first and digest(own) == before


@pytest.mark.parametrize("damage", ["cut", "other shape", "folder is a file"])
def test_a_bad_cache_costs_time_only(valid: Sequences, calls: list[str], cache: Path, damage: str) -> None:
    """A file that was cut off or holds something else is replaced; a cache that cannot be written is done without."""
    member = run("a#0", 0, hidden_size=4, num_layers=1)
    if damage == "folder is a file":
        (cache / "predictions").write_text("")
    expected = np.array(predict_all([member], valid, "cpu")[0])
    for file in cache.rglob("*.npy"):
        if damage == "cut":
            file.write_bytes(file.read_bytes()[:1000])
        else:
            np.save(file, np.zeros(3))
    np.testing.assert_array_equal(predict_all([member], valid, "cpu")[0], expected)
    assert len(calls) == 2
    assert not list(cache.rglob("*.partial*"))


def test_targets_are_of_the_scored_steps(valid: Sequences) -> None:
    """From the end of the warm-up on."""
    np.testing.assert_array_equal(scored_targets(valid), valid.targets[:, 99:])
