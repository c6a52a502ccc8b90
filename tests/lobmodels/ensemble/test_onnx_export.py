"""A member as a graph: the same bytes each time, the same predictions as torch, and a line where onnx is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lobmodels.checkpoint import Checkpoint
from lobmodels.ensemble.bundle import Bundle, read_submission, write_submission
from lobmodels.ensemble.cost import graph_microseconds
from lobmodels.ensemble.onnx_export import is_fused, member_graph
from lobmodels.ensemble.runtime import GraphStep, RuntimeFormatError
from lobmodels.errors import BundleError
from lobmodels.networks import ARCHITECTURES
from lobmodels.plugins.loading import load_file
from tests.lobmodels.ensemble.made_runs import rows, run
from tests.plugin_files import blocks_of_files, forgotten


@pytest.fixture(autouse=True)
def _plugin(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "causal.py").write_text(blocks_of_files()["causal.py"])
    with forgotten():
        load_file(tmp_path / "causal.py")
        yield


def own(name: str = "own#1", **values: Any) -> Checkpoint:
    """An untrained run of the page's network."""
    return run(name, 3, architecture="causal_conv", hidden_size=8, taps=5, **values)


def test_the_graph_is_the_network_and_has_the_same_bytes() -> None:
    """Step by step over a sequence, with a fresh start after `reset`."""
    member = own(derived=True, normalizer="zscore")
    data = member_graph(member)
    assert np.array_equal(data, member_graph(member))
    raw = rows(1, 30)
    step, x = GraphStep(data), member.pipeline(torch.from_numpy(raw)).numpy()[0]
    for _ in range(2):
        found = np.stack([step.step(row) for row in x])
        assert np.abs(found - member.predict(raw)[0]).max() < 1e-5
        step.reset()


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_graphs_stand_beside_fused_members(backend: str, tmp_path: Path) -> None:
    """One ensemble of both, on one scale, equal to torch; all of graphs too; read back from the zip."""
    gru = run("g#0", hidden_size=8, num_layers=1, derived=True)
    raw = rows(2, 25)
    for members in ([gru, own(), own("own#2", derived=True)], [own()]):
        bundle = Bundle.of(members)
        path = tmp_path / f"{len(members)}.zip"
        write_submission(path, bundle)
        predictor = read_submission(path).bundle().predictor(backend)
        found = np.array([[predictor.predict(i, t, True, row) for t, row in enumerate(s)] for i, s in enumerate(raw)])
        assert np.abs(found - bundle.predict(raw)).max() < 1e-5
        assert predictor.backend.endswith("+onnx")
    assert [is_fused(member) for member in (gru, own())] == [True, False]


def test_its_cost_is_measured() -> None:
    """For members that are graphs, and no others."""
    costs = graph_microseconds(Bundle.of([run("g#0", hidden_size=8), own()]))
    assert list(costs) == ["own#1"] and 0 < costs["own#1"] < 1e5


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnx where it is written, onnxruntime where it runs."""
    data = member_graph(own())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # type: ignore[arg-type]
    with pytest.raises(RuntimeFormatError, match="onnxruntime is not installed here"):
        GraphStep(data)
    monkeypatch.setitem(sys.modules, "onnx", None)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=r"own#1 \(causal_conv\) needs an ONNX graph, and onnx is not installed"):
        member_graph(own())


def test_without_the_plugin_a_zip_says_what_it_needs(tmp_path: Path) -> None:
    """Reading the networks back names the plugin's network and the argument."""
    path = tmp_path / "s.zip"
    write_submission(path, Bundle.of([own()]))
    del ARCHITECTURES._entries["causal_conv"]
    with pytest.raises(BundleError, match="own#1 is a network 'causal_conv', which a plugin defines"):
        read_submission(path).bundle()
