"""Features follow the findings' formulas, look only back, and are the same for sequences and single steps."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lobmodels.features import BOUND, GROUPS, HISTORY, NAMES, ROWS, bounded_ratio, compiled, group, history_of
from lobmodels.inputs import InputPipeline, append_features
from lobmodels.schema import LOB

ALL = tuple(GROUPS)
COLUMN = {name: i for i, name in enumerate(LOB.features)}


def raw(seed: int, sequences: int = 2, steps: int = 60) -> np.ndarray:
    """Rows (B, T, 32) like the challenge's: signed, with ties between steps (a quiet level does not move)."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-6, 7, (sequences, steps, 32)) / 2).astype(np.float32)


def formulas(x: np.ndarray) -> dict[str, np.ndarray]:
    """The findings' formulas for one sequence (T, 32), in float64 loops over steps that share nothing with ours."""
    x = x.astype(np.float64)
    c = {name: x[:, i] for name, i in COLUMN.items()}
    steps = len(x)

    def ratio(n: float, d: float) -> float:
        d = d + 1e-8
        return float(np.clip(n / (d if abs(d) >= 1e-6 else np.copysign(1e-6, d)), -BOUND, BOUND))

    out = {name: np.zeros(steps) for names in NAMES.values() for name in names}
    for i in range(6):
        out[f"spread_{i}"] = c[f"p{6 + i}"] - c[f"p{i}"]
    spread = out["spread_0"]
    out["trade_intensity"] = sum(c[f"dv{j}"] for j in range(4))
    out["bid_pressure"] = sum(c[f"v{i}"] for i in range(6))
    out["ask_pressure"] = sum(c[f"v{i}"] for i in range(6, 12))
    out["v8_p0"], out["spread_0_p0"], out["spread_0_v2"] = c["v8"] * c["p0"], spread * c["p0"], spread * c["v2"]
    for t in range(steps):
        bid, ask = out["bid_pressure"][t], out["ask_pressure"][t]
        out["pressure_imbalance"][t] = ratio(bid - ask, bid + ask)
        out["spread_0_change_1"][t] = spread[t] - spread[t - 1] if t >= 1 else 0
        out["spread_0_change_5"][t] = spread[t] - spread[t - 5] if t >= 5 else 0
        out["trade_intensity_mean_5"][t] = out["trade_intensity"][max(0, t - 4) : t + 1].mean()
        s = max(t - 1, 0)
        flows, imbalance = [], 0.0
        for i in range(6):
            b, b_, v, v_ = c[f"p{i}"][t], c[f"p{i}"][s], c[f"v{i}"][t], c[f"v{i}"][s]
            a, a_, u, u_ = c[f"p{6 + i}"][t], c[f"p{6 + i}"][s], c[f"v{6 + i}"][t], c[f"v{6 + i}"][s]
            flows.append((v * (b >= b_) - v_ * (b <= b_)) - (u * (a <= a_) - u_ * (a >= a_)))
            imbalance += (ratio(v - u, v + u) - ratio(v_ - u_, v_ + u_)) / 6
        out["ofi_weighted"][t] = sum(flow / (i + 1) for i, flow in enumerate(flows))
        out["ofi_near_far"][t] = np.mean(flows[:3]) - np.mean(flows[3:])
        out["imbalance_change"][t] = 5 * imbalance
        out["spread_change_imbalance"][t] = (spread[t] - spread[s]) * ratio(
            c["v6"][t] - c["v0"][t], c["v0"][t] + c["v6"][t]
        )
        gap = out["spread_1"] - spread
        out["spread_gap_change"][t] = gap[t] - gap[s]
        out["trade_impulse"][t] = np.sqrt(sum(c[f"dp{j}"][t] ** 2 * (1 + abs(c[f"dv{j}"][t])) for j in range(4)) + 1e-8)
        for k, name in itertools.product((1, 4, 16), ("p0", "p6", "v0", "dp0")):
            out[f"{name}_lag_{k}"][t] = c[name][t] - c[name][t - k] if t >= k else 0
        series = {name: c[name] for name in ("v0", "v6", "dp0")}
        series |= {"mid": (c["p0"] + c["p6"]) / 2, "spread_0": spread, "trade_intensity": out["trade_intensity"]}
        for k, (name, values) in itertools.product((5, 10, 20, 40), series.items()):
            out[f"{name}_rolling_{k}"][t] = values[max(0, t - k + 1) : t + 1].mean()
            out[f"{name}_delta_{k}"][t] = values[t] - values[t - k] if t >= k else 0
    return out


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_equal_the_findings(seed: int) -> None:
    """Every feature of every group equals the published formula, from the first step on."""
    x = raw(seed)
    ours = append_features(torch.from_numpy(x), ALL, LOB).numpy()
    names = InputPipeline(ALL, None, LOB).names
    for b in range(len(x)):
        for name, expected in formulas(x[b]).items():
            np.testing.assert_allclose(ours[b, :, names.index(name)], expected, atol=1e-12, err_msg=name)


def test_one_definition_for_step_and_sequence() -> None:
    """One step on Python floats, and compiled by numba, gives what whole sequences give, to the last digits."""
    import numba

    x = raw(3, sequences=1)
    whole = append_features(torch.from_numpy(x), ALL, LOB).numpy()[0, :, 32:]
    jitted = compiled(numba.njit, ALL)
    rows = np.zeros((history_of(ALL), 32))
    for t in range(x.shape[1]):
        rows[1:] = rows[:-1].copy()
        rows[0] = x[0, t]
        plain, fast = [], []
        for name, function in zip(ALL, jitted, strict=True):
            out = [0.0] * len(NAMES[name])
            GROUPS[name](rows.tolist(), t, out)
            plain += out
            array = np.zeros(len(NAMES[name]))
            function(rows, t, array)
            fast += list(array)
        np.testing.assert_allclose(plain, whole[t], rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(fast, whole[t], rtol=1e-13, atol=1e-13)


def test_rows_are_kept_for_the_groups_that_need_them() -> None:
    """A submission without long windows keeps no more rows than before; with them as many as the longest looks at."""
    assert history_of(()) == history_of(("derived", "lag")) == HISTORY == 17
    assert history_of(ALL) == max(ROWS.values()) == 41


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_ratio_is_bounded(numerator: float, denominator: float) -> None:
    """A ratio of signed volumes is finite and within its bound, wherever its pole is."""
    assert abs(bounded_ratio(numerator, denominator)) <= BOUND * (1 + 1e-12)


def test_a_helper_of_a_group_is_compiled_with_it() -> None:
    """A definition may call other functions of its file, which may call others."""
    compiled_names: list[str] = []

    def jit(function):  # type: ignore[no-untyped-def]
        compiled_names.append(function.__name__)
        return function

    compiled(jit, ("derived",))
    assert compiled_names == ["bounded_ratio", "derived"]


def test_a_group_is_defined_once() -> None:
    """A second group of one name would replace the first without a word."""
    with pytest.raises(ValueError, match="two feature groups are called 'lag'"):

        @group("p0_again")
        def lag(rows: object, t: object, out: object) -> None: ...


def test_a_column_has_one_name() -> None:
    """A profile and a checkpoint know columns by name: two of one name would be taken for each other."""
    with pytest.raises(ValueError, match="group 'queue': spread_3 is a column of another group"):

        @group("queue_0", "spread_3")
        def queue(rows: object, t: object, out: object) -> None: ...
