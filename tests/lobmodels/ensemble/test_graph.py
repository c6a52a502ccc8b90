"""The ONNX graph is the same ensemble, features, attention and resets included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lobmodels.ensemble import graph
from lobmodels.ensemble.bundle import Bundle
from lobmodels.errors import BundleError
from tests.lobmodels.ensemble.made_runs import rows, run

ALL = {"derived": True, "temporal": True, "interaction": True, "microstructure": True, "lag": True}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Every architecture, block, head and feature group, two members stacked, weights per target."""
    runs = [
        run("joint#0", 0, hidden_size=8),
        run("joint#1", 1, hidden_size=8),
        run("joint#2", 2, hidden_size=6, input_block="projection", head="mlp", normalizer="zscore", **ALL),
        run("joint#3", 3, architecture="gru_attention", hidden_size=8, attention_window=6, derived=True),
        run("joint#4", 4, architecture="lstm", hidden_size=5),
        run("joint#5", 5, input_block="convolution", hidden_size=6, head="mlp_per_target", rolling_mean=True),
    ]
    return Bundle.of(runs, np.random.default_rng(0).dirichlet(np.ones(6), 2).T)


@pytest.fixture(scope="module")
def exported(bundle: Bundle) -> bytes:
    """Its graph."""
    return graph.graph_bytes(bundle)


def test_equals_torch(bundle: Bundle, tmp_path: Path) -> None:
    """onnxruntime, fed row by row, gives the batch predictions of torch within 1e-5."""
    path = graph.write_graph(tmp_path / "ensemble.onnx", bundle)
    session = graph.open_session(path.read_bytes())
    raw = rows(2, 60)
    expected = bundle.predict(raw)
    for sequence, target in zip(raw, expected, strict=True):
        state = graph.initial_state(session)
        for t, row in enumerate(sequence.astype(np.float64)):
            prediction, state = graph.step(session, row, t, state)
            assert np.abs(prediction - target[t]).max() < 1e-5


def test_states_are_inputs_and_outputs(exported: bytes) -> None:
    """Every state of every member goes in and comes out under one name, beside the rows that features look back at."""
    session = graph.open_session(exported)
    shapes = {entry.name: entry.shape for entry in session.get_inputs()}
    assert shapes["row"] == [32] and shapes["state.rows"] == [39, 32]
    assert shapes["state.member0.0"] == [2, 1, 8] and shapes["state.member4.1"] == [2, 1, 5]
    assert shapes["state.member5.0"] == [4, 1, 32 + 24]
    following = {entry.name.replace("next.", "state.", 1) for entry in session.get_outputs()} - {"prediction"}
    assert following == {name for name in shapes if name.startswith("state.")}


@pytest.mark.parametrize("values", [{}, {"architecture": "gru_attention"}, {"architecture": "lstm", "derived": True}])
def test_row_and_step_are_always_inputs(values: dict[str, Any], tmp_path: Path) -> None:
    """Whether or not a feature looks at the step, a host gives the same inputs."""
    bundle = Bundle.of([run(hidden_size=8, **values)])
    path = graph.write_graph(tmp_path / "one.onnx", bundle)
    names = {entry.name for entry in graph.open_session(path.read_bytes()).get_inputs()}
    assert {"row", "step", "state.rows", "state.member0.0"} <= names


def test_the_oldest_onnxruntime_can_read_it(exported: bytes) -> None:
    """Operators of opset 17 and a file format of at most 8: what onnxruntime 1.18, the oldest we name, reads."""
    import onnx

    model = onnx.load_from_string(exported)
    assert {(entry.domain, entry.version) for entry in model.opset_import} == {("", 17)}
    assert model.ir_version <= 8
    onnx.checker.check_model(model, full_check=True)


def test_equal_pipelines_are_computed_once() -> None:
    """Members that read the same inputs share one set of feature nodes."""
    import onnx

    values = {"hidden_size": 4, "derived": True, "normalizer": "zscore"}
    sizes = []
    for count in (1, 3):
        members = [run(f"joint#{i}", i, **values) for i in range(count)]
        graph_ = onnx.load_from_string(graph.graph_bytes(Bundle.of(members))).graph
        sizes.append(sum(node.op_type == "Sub" for node in graph_.node))
    assert sizes[0] == sizes[1] > 6


def test_a_network_that_cannot_be_written(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that ONNX does not have is one error that says what to do."""

    def exponential(
        pipeline: object, history: torch.Tensor, step: torch.Tensor, own: list[torch.Tensor]
    ) -> torch.Tensor:
        return torch.linalg.matrix_exp(history.T @ history)[:1].float()

    monkeypatch.setattr(graph, "_network_input", exponential)
    with pytest.raises(BundleError, match=r"torch cannot write these networks as ONNX .*export them without it"):
        graph.graph_bytes(Bundle.of(bundle.members[:1]))


def test_deterministic(bundle: Bundle, exported: bytes) -> None:
    """The same bundle gives the same bytes."""
    assert graph.graph_bytes(bundle) == exported


def test_a_graph_that_differs_is_not_kept(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check in onnxruntime decides, before anything is written."""
    monkeypatch.setattr(graph, "LIMIT", 0.5)
    with pytest.raises(BundleError, match="differs from the runtime"):
        graph.write_graph(tmp_path / "ensemble.onnx", Bundle.of(bundle.members[:2]))
    assert list(tmp_path.iterdir()) == []


def test_without_onnx(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(BundleError, match=r"pip install 'lobtuna\[onnx\]'"):
        graph.graph_bytes(bundle)
