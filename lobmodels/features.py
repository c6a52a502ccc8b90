"""Feature groups of the order book, each defined once for whole sequences and for one online step.

A definition uses operators alone, so the same code runs on torch tensors (whole sequences, `lobmodels.inputs`), on
Python floats and inside numba (one step, `lobmodels.ensemble.runtime`). It imports nothing from the project and no
torch: a submission carries a copy of this file. Everything is computed in double precision from raw columns and is
causal.

Calling convention of a group `g(rows, t, out)`:
- `rows[k][i]` is raw column `i` as it was `k` steps ago, 0.0 before the sequence began; `k` is less than the `history`
  that the group asks for, else than `HISTORY`. These rows are the whole state online: a mean over a window is added up
  from them each time, so that no rounding error builds up.
- `t` is the step in the sequence (a number, or a tensor that broadcasts against the columns).
- `out[j]` receives the group's j-th feature, in the order of the names given to the decorator `group`.

A group is switched on by the flag of its name in `lobmodels.config`; `docs/extending.md` adds one step by step.

Source of the formulas: the published findings of the challenge's entrants, with the departures named at each place.
"""

import types
from collections.abc import Callable, Iterable
from typing import Any

HISTORY = 17  # rows that are kept for every group, the current one included: the longest lag is 16
BOUND = 10.0  # a ratio of signed volumes has a pole; beyond this it carries no information

GROUPS: dict[str, Callable[[Any, Any, Any], None]] = {}  # the definitions, in the order in which they are appended
NAMES: dict[str, tuple[str, ...]] = {}  # of each group's columns
ROWS: dict[str, int] = {}  # that each group may look at, the current one included


def group(
    *names: str, history: int = HISTORY
) -> Callable[[Callable[[Any, Any, Any], None]], Callable[[Any, Any, Any], None]]:
    """A decorator that enters a definition into `GROUPS` under its function's name; it fills the columns `names` from
    the last `history` rows.

    Raises ValueError where its name, or the name of a column, is taken.
    """

    def enter(definition: Callable[[Any, Any, Any], None]) -> Callable[[Any, Any, Any], None]:
        name = definition.__name__
        if name in GROUPS:
            raise ValueError(f"two feature groups are called {name!r}: give the new one another name")
        taken = [column for column in names if any(column in others for others in NAMES.values())]
        if taken:
            raise ValueError(f"group {name!r}: {', '.join(taken)} is a column of another group: give it another name")
        GROUPS[name], NAMES[name], ROWS[name] = definition, names, history
        return definition

    return enter


# Columns of lobmodels.schema.LOB: bid price l, ask price 6+l, bid volume 12+l, ask volume 18+l, trade price 24+j,
# trade volume 28+j. Plain numbers, because a submission carries this file without the schema.


def bounded_ratio(numerator: Any, denominator: Any) -> Any:
    """`numerator / (denominator + 1e-8)` with the pole guarded: denominators within 1e-6 of zero are moved to it,
    results beyond ±`BOUND` are cut. The published formula has no guard, though the volumes are signed."""
    denominator = denominator + 1e-8
    sign = 1.0 - 2.0 * (denominator < 0.0)
    denominator = denominator + (abs(denominator) < 1e-6) * (sign * 1e-6 - denominator)
    ratio = numerator / denominator
    return ratio + (ratio > BOUND) * (BOUND - ratio) + (ratio < -BOUND) * (-BOUND - ratio)


@group(
    *(f"spread_{level}" for level in range(6)),
    "trade_intensity",
    "bid_pressure",
    "ask_pressure",
    "pressure_imbalance",
)
def derived(rows: Any, t: Any, out: Any) -> None:
    """Spreads of the six levels, trade intensity, bid and ask pressure and their imbalance."""
    now = rows[0]
    for level in range(6):
        out[level] = now[6 + level] - now[level]
    out[6] = now[28] + now[29] + now[30] + now[31]
    bid = now[12] + now[13] + now[14] + now[15] + now[16] + now[17]
    ask = now[18] + now[19] + now[20] + now[21] + now[22] + now[23]
    out[7] = bid
    out[8] = ask
    out[9] = bounded_ratio(bid - ask, bid + ask)


@group("spread_0_change_1", "spread_0_change_5", "trade_intensity_mean_5")
def temporal(rows: Any, t: Any, out: Any) -> None:
    """Changes of the best spread over 1 and 5 steps (0 before they exist), trade intensity averaged over 5 steps."""
    spread = rows[0][6] - rows[0][0]
    out[0] = (t >= 1) * (spread - (rows[1][6] - rows[1][0]))
    out[1] = (t >= 5) * (spread - (rows[5][6] - rows[5][0]))
    total = rows[0][28] + rows[0][29] + rows[0][30] + rows[0][31]
    for k in range(1, 5):  # rows before the sequence are zero: they add nothing
        total = total + (rows[k][28] + rows[k][29] + rows[k][30] + rows[k][31])
    out[2] = total / (1.0 + 1.0 * (t >= 1) + 1.0 * (t >= 2) + 1.0 * (t >= 3) + 1.0 * (t >= 4))


@group("v8_p0", "spread_0_p0", "spread_0_v2")
def interaction(rows: Any, t: Any, out: Any) -> None:
    """Products: v8·p0, spread_0·p0, spread_0·v2."""
    now = rows[0]
    spread = now[6] - now[0]
    out[0] = now[20] * now[0]
    out[1] = spread * now[0]
    out[2] = spread * now[14]


@group(
    "ofi_weighted",
    "ofi_near_far",
    "imbalance_change",
    "spread_change_imbalance",
    "spread_gap_change",
    "trade_impulse",
)
def microstructure(rows: Any, t: Any, out: Any) -> None:
    """Order-flow imbalance (Cont, Kukanov, Stoikov 2014) over the levels, and what moves with it.

    Per level OFI = eb - ea, eb = v·1[p >= p'] - v'·1[p <= p'] on the bid, inequalities flipped on the ask, where
    ' is the previous step. At the first step the previous one is the current one, so every change is 0.
    """
    now = rows[0]
    last = rows[1]
    moved = t >= 1
    weighted = 0.0 * now[0]
    near = 0.0 * now[0]
    far = 0.0 * now[0]
    imbalance = 0.0 * now[0]
    for level in range(6):
        bid, bid_last = now[level], last[level]
        ask, ask_last = now[6 + level], last[6 + level]
        bid_flow = now[12 + level] * (bid >= bid_last) - last[12 + level] * (bid <= bid_last)
        ask_flow = now[18 + level] * (ask <= ask_last) - last[18 + level] * (ask >= ask_last)
        flow = bid_flow - ask_flow
        weighted = weighted + flow / (level + 1.0)
        if level < 3:
            near = near + flow
        else:
            far = far + flow
        imbalance = imbalance + (
            bounded_ratio(now[12 + level] - now[18 + level], now[12 + level] + now[18 + level])
            - bounded_ratio(last[12 + level] - last[18 + level], last[12 + level] + last[18 + level])
        )
    spread = now[6] - now[0]
    spread_last = last[6] - last[0]
    out[0] = moved * weighted
    out[1] = moved * (near / 3.0 - far / 3.0)
    out[2] = moved * (5.0 * imbalance / 6.0)
    out[3] = moved * ((spread - spread_last) * bounded_ratio(now[18] - now[12], now[12] + now[18]))
    gap = (now[7] - now[1]) - spread
    out[4] = moved * (gap - ((last[7] - last[1]) - spread_last))
    impulse = 1e-8 + 0.0 * now[0]
    for j in range(4):
        impulse = impulse + now[24 + j] * now[24 + j] * (1.0 + abs(now[28 + j]))
    out[5] = impulse**0.5


@group(*(f"{name}_lag_{k}" for k in (1, 4, 16) for name in ("p0", "p6", "v0", "dp0")))
def lag(rows: Any, t: Any, out: Any) -> None:
    """Changes of p0, p6, v0 and dp0 over 1, 4 and 16 steps; 0 while the sequence is shorter than the lag."""
    now = rows[0]
    j = 0
    for k in (1, 4, 16):
        for i in (0, 6, 12, 24):
            out[j] = (t >= k) * (now[i] - rows[k][i])
            j += 1


SERIES = ("mid", "spread_0", "v0", "v6", "dp0", "trade_intensity")


def series(row: Any, i: Any) -> Any:
    """The i-th of `SERIES` in one row: mid price, best spread, best volumes, a trade's price, all trades' volumes."""
    if i == 0:
        return 0.5 * (row[0] + row[6])
    if i == 1:
        return row[6] - row[0]
    if i == 5:
        return row[28] + row[29] + row[30] + row[31]
    return row[6 + 6 * (i - 1)]  # 2: v0 in column 12, 3: v6 in column 18, 4: dp0 in column 24


@group(*(f"{name}_rolling_{n}" for name in SERIES for n in (5, 10, 20, 40)), history=40)
def rolling_mean(rows: Any, t: Any, out: Any) -> None:
    """Means of `SERIES` over the last 5, 10, 20 and 40 steps, or as many as there are."""
    for i in range(6):
        total = 0.0 * rows[0][0]
        first = 0
        j = 4 * i
        for n in (5, 10, 20, 40):
            for k in range(first, n):  # rows before the sequence are zero: they add nothing
                total = total + series(rows[k], i)
            out[j] = total / (n + (t + 1 < n) * (t + 1 - n))
            first = n
            j += 1


@group(*(f"{name}_delta_{n}" for name in SERIES for n in (5, 10, 20, 40)), history=41)
def rolling_delta(rows: Any, t: Any, out: Any) -> None:
    """Changes of `SERIES` over 5, 10, 20 and 40 steps; 0 while the sequence is shorter."""
    for i in range(6):
        now = series(rows[0], i)
        j = 4 * i
        for k in (5, 10, 20, 40):
            out[j] = (t >= k) * (now - series(rows[k], i))
            j += 1


def history_of(groups: Iterable[str]) -> int:
    """Rows that must be kept for `groups`, the current one included."""
    return max([HISTORY, *(ROWS[name] for name in groups)])


def feature_names(groups: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the features that `groups` append to the raw columns, in order."""
    return tuple(name for group in groups for name in NAMES[group])


def compiled(jit: Callable[..., Any], groups: tuple[str, ...]) -> list[Callable[..., Any]]:
    """The definitions of `groups` compiled by `jit` (`numba.njit`), with the functions of this file that they call."""
    return [_compiled(jit, GROUPS[name]) for name in groups]


def _compiled(jit: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    namespace, code = dict(function.__globals__), function.__code__
    for name in code.co_names:
        if isinstance(namespace.get(name), types.FunctionType):
            namespace[name] = _compiled(jit, namespace[name])
    return jit(types.FunctionType(code, namespace, function.__name__))
