"""The online predictor is the trained network: in every form, over every part of the space, whatever arrives."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lobmodels import features
from lobmodels.ensemble import runtime
from lobmodels.ensemble.bundle import Bundle
from lobmodels.ensemble.runtime import Ensemble, SequenceError
from lobmodels.schema import LOB
from tests.lobmodels.ensemble.made_runs import rows, run

TOLERANCE = 1e-5
NORMED = 8


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """Any corner of what changes the arithmetic: architecture, blocks, sizes, features, normaliser.

    A layer norm has at least `NORMED` values: over two or three nearly equal ones it divides by their difference, so
    that the whole-sequence and the stepped form of torch itself differ by 1e-4.
    """
    values: dict[str, Any] = {
        "architecture": draw(st.sampled_from(list(runtime.ARCHITECTURES))),
        "input_block": draw(st.sampled_from(list(runtime.INPUT_BLOCKS))),
        "head": draw(st.sampled_from(list(runtime.HEADS))),
        "hidden_size": draw(st.integers(1, 40)),
        "num_layers": draw(st.integers(1, 3)),
        "normalizer": draw(st.sampled_from(["none", "zscore"])),
    }
    for group in features.GROUPS:
        values[group] = draw(st.booleans())
    if not values["derived"]:
        values["temporal"] = False
    if values["input_block"] == "convolution":
        values["conv_kernel"] = draw(st.integers(1, 12))
    if values["input_block"] != "none":
        values["hidden_size"] = max(NORMED, values["hidden_size"])
    if values["architecture"] == "gru_attention":
        heads = values["attention_heads"] = draw(st.integers(1, 5))
        values["hidden_size"] = heads * draw(st.integers(-(-NORMED // heads), 12))
        values["attention_window"] = draw(st.integers(1, 40))
    return values


def step_torch(checkpoint, raw):  # type: ignore[no-untyped-def]
    """Predictions (N, T, 2) by the network's own step form."""
    network = checkpoint.network()
    with torch.inference_mode():
        x = checkpoint.pipeline(torch.from_numpy(raw))  # (N, T, F)
        state = network.initial_state(len(raw))
        parts = []
        for t in range(raw.shape[1]):
            y, state = network.forward_step(x[:, t], state)
            parts.append(y.numpy())
    return np.stack(parts, 1)


def online(predictor: Ensemble, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (N, T, 2) of the ensemble and (N, T, K, 2) of its members, rows fed as the challenge feeds them."""
    ensemble, members = [], []
    for seq_ix, sequence in enumerate(raw.astype(object)):
        for t, state in enumerate(sequence):
            ensemble.append(predictor.predict(float(seq_ix), t, True, state))
            members.append(predictor.members)
    shape = raw.shape[:2]
    return np.reshape(ensemble, (*shape, 2)), np.reshape(members, (*shape, -1, 2))


@settings(max_examples=12, deadline=None)
@given(
    members=st.lists(configurations(), min_size=1, max_size=4),
    twins=st.booleans(),
    seed=st.integers(0, 999),
)
def test_parity(members: list[dict[str, Any]], twins: bool, seed: int) -> None:
    """Batch torch, stepped torch, numpy and numba agree within 1e-5 on every member, over sequence resets."""
    if twins:  # members of one shape are stacked
        members = [*members, members[0]]
    runs = [run(f"joint#{i}", seed + i, **values) for i, values in enumerate(members)]
    raw = rows(2, 45, seed)
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(runs)), 2).T
    bundle = Bundle.of(runs, weights)
    batch = np.stack([member.predict(raw) for member in runs], 2)  # (N, T, K, 2)
    stepped = np.stack([step_torch(member, raw) for member in runs], 2)
    assert np.abs(batch - stepped).max() < TOLERANCE
    for backend in ("numpy", "numba"):
        predicted, parts = online(bundle.predictor(backend), raw)
        assert np.abs(parts - batch).max() < TOLERANCE, backend
        assert np.abs(predicted - (batch * weights).sum(2)).max() < TOLERANCE, backend


def test_parity_over_a_whole_sequence() -> None:
    """A thousand steps do not let the difference grow, attention's full window included."""
    runs = [
        run("joint#0", 1, hidden_size=64, num_layers=3),
        run("joint#1", 2, architecture="gru_attention", hidden_size=32, attention_window=128, head="mlp"),
        run("joint#2", 3, input_block="convolution", conv_kernel=9, hidden_size=16, rolling_mean=True),
    ]
    raw = rows(1, 1000)
    batch = np.stack([member.predict(raw) for member in runs], 2)
    for backend in ("numpy", "numba"):
        assert np.abs(online(Bundle.of(runs).predictor(backend), raw)[1] - batch).max() < TOLERANCE


@pytest.fixture(scope="module", params=["numpy", "numba"])
def predictor(request: pytest.FixtureRequest) -> Ensemble:
    """Members with attention, a convolution and features, on each backend."""
    runs = [
        run("joint#0", 1, hidden_size=8, derived=True, microstructure=True, normalizer="zscore"),
        run("joint#1", 2, architecture="gru_attention", hidden_size=8, attention_window=6),
        run("joint#2", 3, input_block="convolution", hidden_size=8, rolling_delta=True),
    ]
    return Bundle.of(runs).predictor(request.param)


def test_rows_without_a_prediction_are_consumed(predictor: Ensemble) -> None:
    """None where no prediction is asked, yet the state moves on as if one were."""
    raw = rows(1, 30)
    asked = online(predictor, raw)[0][0, -1]
    for t in range(29):
        assert predictor.predict(0, t, False, raw[0, t]) is None
    assert np.array_equal(predictor.predict(0, 29, True, raw[0, 29]), asked)


def test_predictions_do_not_change_later(predictor: Ensemble) -> None:
    """A returned array is the caller's: the next row does not write into it."""
    raw = rows(1, 2)
    first = predictor.predict(0, 0, True, raw[0, 0])
    kept = first.copy()
    predictor.predict(0, 1, True, raw[0, 1])
    assert np.array_equal(first, kept) and first.shape == (2,) and first.dtype == np.float64


def test_a_new_sequence_forgets_the_last(predictor: Ensemble) -> None:
    """Step 0 resets, also when the same sequence is fed again."""
    raw = rows(2, 20)
    alone = online(predictor, raw[1:])[0][0]
    both = online(predictor, raw)[0][1]
    assert np.array_equal(alone, both)
    again = [predictor.predict(1, t, True, row) for t, row in enumerate(raw[1])]
    assert np.array_equal(again, both)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e300, -3e38])
@pytest.mark.parametrize("columns", [slice(0, 1), slice(None)])
def test_a_poisoned_row_leaves_the_state_finite(predictor: Ensemble, poison: float, columns: slice) -> None:
    """Whatever a row holds, predictions stay finite, at that row and ever after."""
    raw = rows(1, 40).astype(np.float64)
    raw[0, 0, columns] = poison
    raw[0, 20, columns] = poison
    assert np.isfinite(online(predictor, raw)[0]).all()


def test_a_missing_value_keeps_the_last_one(predictor: Ensemble) -> None:
    """NaN means: as before; at the first step it means 0."""
    raw = rows(1, 12).astype(np.float64)
    filled = raw.copy()
    raw[0, 0, 3], filled[0, 0, 3] = np.nan, 0.0
    raw[0, 7:9, 5] = np.inf
    filled[0, 7:9, 5] = filled[0, 6, 5]
    assert np.array_equal(online(predictor, raw)[0], online(predictor, filled)[0])


@pytest.mark.parametrize(
    ("before", "then", "message"),
    [
        ([], (7, 5), "sequence 7 starts at step 5; a sequence must start at step 0"),
        ([(7, 0), (7, 1)], (7, 1), "step 1 after step 1 is repeated or goes back"),
        ([(7, 0), (7, 1), (7, 2)], (7, 1), "step 1 after step 2 is repeated or goes back"),
        ([(7, 0)], (7, 2), "step 2 after step 0 skips steps"),
        ([(7, 0), (7, 1)], (8, 2), "sequence 8 starts at step 2"),
    ],
)
def test_rows_out_of_order_are_refused(
    predictor: Ensemble, before: list[tuple[int, int]], then: tuple[int, int], message: str
) -> None:
    """A sequence that starts late, a repeated, a skipped step: an error that names it, and no prediction."""
    row = np.zeros(32)
    predictor.predict(-1, 0, True, row)
    for seq_ix, t in before:
        predictor.predict(seq_ix, t, True, row)
    with pytest.raises(SequenceError, match=message):
        predictor.predict(*then, True, row)


def test_a_submission_starts_afresh_at_rows_out_of_order(
    predictor: Ensemble, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not strict: a sequence that starts late, and a skipped step, are read as new sequences; told once."""
    monkeypatch.setattr(predictor, "strict", False)
    raw = rows(2, 12, seed=3)
    expected = online(predictor, raw)[0]  # from step 0
    with caplog.at_level(logging.WARNING):
        late = [predictor.predict(7, 99 + t, True, raw[0, t]) for t in range(12)]
        after_a_gap = [predictor.predict(7, 200 + t, True, raw[1, t]) for t in range(12)]
    assert np.array_equal(late, expected[0]) and np.array_equal(after_a_gap, expected[1])
    assert [record.getMessage() for record in caplog.records] == [
        "sequence 7 starts at step 99; a sequence must start at step 0; the state starts afresh there, and at every "
        "such row"
    ]


@pytest.mark.parametrize("state", [np.zeros(31), np.zeros((1, 32)), 0.0, None])
def test_a_row_of_another_width_is_refused(predictor: Ensemble, state: Any) -> None:
    """32 columns, or an error: nothing is broadcast."""
    with pytest.raises(ValueError, match=r"expected|not \(32,\)"):
        predictor.predict(0, 0, True, state)


def test_falls_back_when_numba_is_missing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Without numba the numpy step serves, and the log says so."""
    runtime._compiled_advance.cache_clear()  # as in a fresh process
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    with caplog.at_level(logging.WARNING):
        predictor = Bundle.of([run(hidden_size=4, num_layers=1)]).predictor()
    assert predictor.backend == "numpy"
    assert "numba cannot be used" in caplog.text


def test_falls_back_when_the_compiled_step_is_wrong(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The start-up check meets a compiled step that differs, and refuses it."""
    right = runtime.NumbaStep.step

    def wrong(self: runtime.NumbaStep, row: np.ndarray, t: int) -> np.ndarray:
        right(self, row, t)
        self.members += 1e-3
        return self.out

    monkeypatch.setattr(runtime.NumbaStep, "step", wrong)
    bundle = Bundle.of([run(hidden_size=4, num_layers=1)])
    with caplog.at_level(logging.WARNING):
        assert bundle.predictor().backend == "numpy"
    assert "differs from numpy's by 1.0e-03" in caplog.text
    with pytest.raises(runtime.RuntimeFormatError, match="differs"):
        bundle.predictor("numba")


def test_deterministic() -> None:
    """Two predictors give the same bits."""
    bundle = Bundle.of([run(hidden_size=16, derived=True)])
    raw = rows(1, 50)
    for backend in ("numpy", "numba"):
        assert np.array_equal(online(bundle.predictor(backend), raw)[0], online(bundle.predictor(backend), raw)[0])


def test_shared_inputs_are_computed_once() -> None:
    """Members that read the same columns under the same normaliser share one input."""
    same = [run(f"joint#{i}", i, hidden_size=4, derived=True, normalizer="zscore") for i in range(3)]
    other = run("joint#9", 9, hidden_size=4)
    bundle = Bundle.of([*same, other])
    assert [member["pipeline"] for member in bundle.manifest()["members"]] == [0, 0, 0, 1]
    assert len(runtime.Inputs(bundle.manifest()["pipelines"], bundle.tensors(), features).columns) == 42 + 32


def test_missing_parts_are_named() -> None:
    """A weights file without a tensor or a normaliser, an unknown group, another format: refused by name."""
    bundle = Bundle.of([run(hidden_size=4, derived=True, normalizer="zscore")])
    manifest, arrays = bundle.manifest(), bundle.tensors()
    for name in ("pipeline.0.mean", "member.0.head.bias"):
        with pytest.raises(runtime.RuntimeFormatError, match=name):
            Ensemble(manifest, {k: v for k, v in arrays.items() if k != name}, features)
    broken = manifest | {"pipelines": [{"groups": ["moonphase"], "normalizer": False}]}
    with pytest.raises(runtime.RuntimeFormatError, match="moonphase"):
        Ensemble(broken, arrays, features)
    with pytest.raises(runtime.RuntimeFormatError, match="format 99"):
        Ensemble(manifest | {"format": 99}, arrays, features)


def test_the_runtime_names_no_feature_group() -> None:
    """Groups are found in `features`, so that a new one needs no line here; `temporal` and its like are not words."""
    source = Path(str(runtime.__file__)).read_text()
    assert not [name for name in features.GROUPS if f'"{name}"' in source or f"{name}(" in source]


def test_weights_start_at_cache_lines() -> None:
    """Every region and every constant of the compiled step starts where a cache line does."""
    bundle = Bundle.of([run("joint#0", 0, hidden_size=5, derived=True), run("joint#1", 1, hidden_size=3, head="mlp")])
    manifest, arrays = bundle.manifest(), bundle.tensors()
    networks = [runtime.Weights(member, arrays, f"member.{k}").parts() for k, member in enumerate(manifest["members"])]
    program = runtime.Program(runtime.Inputs(manifest["pipelines"], arrays, features), networks, [0, 1], 2)
    assert program.memory().ctypes.data % (4 * runtime.LINE) == 0
    assert not any(base % runtime.LINE for base in program.bases)
    assert not any(len(constant) % runtime.LINE for constant in program.constants)


def test_addresses_lie_in_the_memory() -> None:
    """Every operand that is an address points into the memory once sizes are known; code has addresses of its own."""
    bundle = Bundle.of([run("joint#0", 0, architecture="gru_attention", hidden_size=12, attention_window=9)])
    manifest, arrays = bundle.manifest(), bundle.tensors()
    networks = [runtime.Weights(manifest["members"][0], arrays, "member.0").parts()]
    program = runtime.Program(runtime.Inputs(manifest["pipelines"], arrays, features), networks, [0], 2)
    lines, size = program.instructions(), len(program.memory())
    assert lines.shape == (len(program.lines), 9) and (lines[:, 1:] < size).all()
    assert len(set(lines[:, 0].tolist())) == len({line[0] for line in program.lines}) == 5


def test_its_sizes_are_the_schemas() -> None:
    """The runtime travels alone and cannot import the schema: its two numbers are held equal to it here."""
    assert len(LOB.features) == runtime.COLUMNS
