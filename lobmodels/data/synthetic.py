"""An order-book simulator that writes the challenge's parquet: data to try everything on, with a known signal.

The market has two hidden order-flow pressures, a fast one that the near volumes show and a slow one that the deep
volumes show through noise. Both push the mid price; a stochastic volatility scales every move. Targets are what the
format's users forecast: the mid's move over the next few events (t0, mostly the fast pressure: easier) and its mean
move over the next forty (t1, mostly noise: harder). Overlapping horizons make the targets autocorrelated, the
volatility makes them heavy-tailed and clustered. Validation sequences are drawn from a later moment of a drifting
market, so train and valid are shifted against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lobmodels.errors import DataError
from lobmodels.files import appearing, writable_folder
from lobmodels.schema import LOB, Schema

Array = NDArray[np.float32]

CHUNK = 128  # sequences simulated and written at once; part of the definition: each chunk has its own random stream
LEVELS = 6
BURN_IN = 64  # steps before a sequence, so that its rolling reference has forgotten its start
BOUND = 5.2  # the challenge's features are scaled to about ±5.2
TICK = 1 / 128  # features and targets lie on this grid: prices have ticks, and the file compresses
TARGET_BOUND = 44.0


@dataclass(frozen=True)
class Market:
    """The parameters of the simulated market; lengths in events, sizes in standard deviations of one event's move."""

    fast_memory: float = 0.55  # lag-1 autocorrelation of the fast pressure
    slow_memory: float = 0.985
    volatility_memory: float = 0.98
    fast_push: float = 0.6  # move per event and unit of pressure
    slow_push: float = 0.06
    fast_seen: float = 0.85  # how much of a near volume is the fast pressure, against noise of size 1
    slow_seen: float = 0.3  # how much of a deep volume is the slow pressure
    volatility_spread: float = 0.6  # standard deviation of log volatility within a sequence
    sequence_spread: float = 0.35  # and between sequences
    near_horizon: int = 3  # t0: the mid's move over this many events
    far_horizon: int = 40  # t1: mean of the mid over this many events, less the mid
    drift: float = 0.6  # how far prices, volumes and volatility move from train to valid


@dataclass(frozen=True)
class Simulated:
    """Sequences, and the forecast from the hidden pressures: no model of the features can be better."""

    features: Array  # (n, T, 32)
    targets: Array  # (n, T, 2)
    expected: Array  # (n, T, 2)


def simulate(
    rng: np.random.Generator, n: int, moment: Array, market: Market = Market(), schema: Schema = LOB
) -> Simulated:
    """`n` independent sequences at the `moment`s (n,) of the market's drift: train is around 0.5, valid around 1.5."""
    before = BURN_IN
    steps = before + schema.sequence_length + market.far_horizon
    pressures = [market.volatility_memory, market.fast_memory, market.slow_memory]
    memory = np.array(pressures + [0.7] * (2 * LEVELS) + [0.9] * (2 * LEVELS), np.float32)
    paths = _autoregressions(rng, steps, n, memory)  # (S, n, K), each of variance 1
    log_volatility = (
        market.volatility_spread * paths[:, :, 0]
        + market.sequence_spread * rng.standard_normal(n, dtype=np.float32)
        + 0.25 * market.drift * (moment - 0.5)
    )
    volatility = np.exp(log_volatility)
    fast, slow = paths[:, :, 1], paths[:, :, 2]
    push = market.fast_push * fast + market.slow_push * slow
    shocks = rng.standard_normal((steps, n), dtype=np.float32) * np.exp(
        0.4 * rng.standard_normal((steps, n), dtype=np.float32) - 0.16
    )
    moves = np.zeros((steps, n), np.float64)  # moves[t]: from t-1 to t
    moves[1:] = (volatility * (push + shocks))[:-1]
    mid = np.cumsum(moves, axis=0)
    shown = slice(before, before + schema.sequence_length)
    targets = _targets(mid, market)[shown]
    expected = _expected(volatility, fast, slow, market)[shown]
    features = np.concatenate(
        [
            _prices(mid, log_volatility, paths[:, :, 3 + 2 * LEVELS :], moment, market, rng),
            _volumes(fast, slow, paths[:, :, 3 : 3 + 2 * LEVELS], log_volatility, moment, market),
            _trades(rng, fast, log_volatility, moves),
        ],
        axis=2,
    )[shown]
    return Simulated(
        _on_grid(features, BOUND), _on_grid(targets, TARGET_BOUND), np.swapaxes(expected, 0, 1).astype(np.float32)
    )


def _autoregressions(rng: np.random.Generator, steps: int, n: int, memory: Array) -> Array:
    """Stationary AR(1) paths of unit variance, (S, n, K), one lag-1 autocorrelation of `memory` (K,) each."""
    paths = rng.standard_normal((steps, n, len(memory)), dtype=np.float32)
    paths[1:] *= np.sqrt(1 - memory**2)
    for t in range(1, steps):
        paths[t] += memory * paths[t - 1]
    return paths


def _targets(mid: NDArray[np.float64], market: Market) -> NDArray[np.float64]:
    """(S, n, 2): move over the near horizon, mean move over the far one; zeros where the horizon leaves the path."""
    steps, near, far = len(mid), market.near_horizon, market.far_horizon
    targets = np.zeros((*mid.shape, 2))
    targets[: steps - near, :, 0] = mid[near:] - mid[:-near]
    total = np.cumsum(mid, axis=0)
    targets[: steps - far, :, 1] = (total[far:] - total[:-far]) / far - mid[:-far]
    return targets * _scales(market)


def _scales(market: Market) -> NDArray[np.float64]:
    """Factors (2,) that bring both targets to a standard deviation near 1: one over that of their summed shocks."""
    weights = 1 - np.arange(market.far_horizon) / market.far_horizon
    typical = np.exp(market.volatility_spread**2 + market.sequence_spread**2)
    return 1 / (typical * 1.15 * np.sqrt([market.near_horizon, (weights**2).sum()]))


def _expected(volatility: Array, fast: Array, slow: Array, market: Market) -> Array:
    """(S, n, 2): the targets' means given both pressures and the volatility, which is taken to stay as it is."""
    near, far = np.arange(market.near_horizon), np.arange(market.far_horizon)
    weights = (np.ones(len(near)), 1 - far / len(far))
    columns = []
    for scale, ahead, weight in zip(_scales(market), (near, far), weights, strict=True):
        reach_fast = market.fast_push * (weight * market.fast_memory**ahead).sum()
        reach_slow = market.slow_push * (weight * market.slow_memory**ahead).sum()
        columns.append(scale * volatility * (reach_fast * fast + reach_slow * slow))
    return np.stack(columns, axis=2)


def _prices(
    mid: NDArray[np.float64],
    log_volatility: Array,
    wobble: Array,
    moment: Array,
    market: Market,
    rng: np.random.Generator,
) -> Array:
    """(S, n, 12): six bids below and six asks above the mid, less a slow reference."""
    reference = mid.copy()
    for t in range(1, len(mid)):
        reference[t] = reference[t - 1] + 0.02 * (mid[t] - reference[t - 1])
    level = 0.06 * (mid - reference) + 0.5 * rng.standard_normal(mid.shape[1]) + market.drift * (moment - 0.5)
    gaps = 0.12 * np.exp(
        0.6 * log_volatility[:, :, None] + 0.4 * wobble
    )  # (S, n, 12): mid to best, then level to level
    bids, asks = (np.cumsum(side, axis=2) for side in (gaps[:, :, :LEVELS], gaps[:, :, LEVELS:]))
    return np.concatenate([level[:, :, None] - bids, level[:, :, None] + asks], axis=2)


def _volumes(fast: Array, slow: Array, noise: Array, log_volatility: Array, moment: Array, market: Market) -> Array:
    """(S, n, 12): standardised log volumes of bids, then asks; near ones show the fast pressure, deep ones the slow."""
    near = np.array([1.0, 0.5, 0.2, 0.0, 0.0, 0.0], np.float32) * market.fast_seen
    deep = np.array([0.0, 0.3, 0.6, 1.0, 1.0, 1.0], np.float32) * market.slow_seen
    shown = near * fast[:, :, None] + deep * slow[:, :, None]  # (S, n, 6)
    thinner = (-0.3 * log_volatility - 0.3 * market.drift * (moment - 0.5))[:, :, None]
    return np.concatenate([shown + noise[:, :, :LEVELS], -shown + noise[:, :, LEVELS:]], axis=2) + thinner


def _trades(rng: np.random.Generator, fast: Array, log_volatility: Array, moves: NDArray[np.float64]) -> Array:
    """(S, n, 8): side-signed prices and volumes of the trades of this event and the three before it; 0 without one."""
    shape = fast.shape
    side = np.sign(0.6 * fast + rng.standard_normal(shape, dtype=np.float32))
    happened = rng.random(shape, dtype=np.float32) < 0.5
    price = happened * (side * 0.3 * np.exp(0.6 * log_volatility) + 0.25 * moves)
    volume = happened * (0.5 * log_volatility + 0.6 * rng.standard_normal(shape, dtype=np.float32) + 0.6)
    past = np.zeros((*shape, 8), np.float32)
    for k in range(4):
        past[k:, :, k] = price[: shape[0] - k]
        past[k:, :, 4 + k] = volume[: shape[0] - k]
    return past


def _on_grid(values: NDArray[np.floating], bound: float) -> Array:
    """(S, n, F) to (n, S, F), cut to ±`bound` and rounded to ticks."""
    rounded = np.round(np.clip(np.swapaxes(values, 0, 1), -bound, bound) / TICK) * TICK
    return (rounded + 0.0).astype(np.float32)  # + 0.0: no negative zeros


def write_dataset(
    folder: Path | str,
    train: int,
    valid: int,
    seed: int = 0,
    market: Market = Market(),
    progress: Callable[[int], None] | None = None,
    overwrite: bool = False,
) -> None:
    """Write train.parquet and valid.parquet of `train` and `valid` sequences into `folder`.

    The same arguments give the same data. Files appear whole or not at all. `progress` is called with the number of
    sequences just written. Raises `DataError` for impossible counts and for files that are there already, since they
    may be real ones, and `OutputError` for a folder that cannot be written.
    """
    folder = Path(folder)
    for name, count in (("train", train), ("valid", valid)):
        if count < 1:
            raise DataError(f"{name} {count}: at least one sequence is needed")
    if seed < 0:
        raise DataError(f"seed {seed}: a seed is zero or positive")
    writable_folder(folder)
    files = folder / "train.parquet", folder / "valid.parquet"
    there = [path for path in files if path.exists()]
    if there and not overwrite:
        message = f"{there[0]}: exists already; choose another folder or set `overwrite`"
        raise DataError(message, arguments=["overwrite"])
    _write_file(files[0], _chunks(train, (seed, 0), 0, (0.0, 1.0), market), progress)
    _write_file(files[1], _chunks(valid, (seed, 1), train, (1.2, 1.8), market), progress)


def _chunks(
    count: int, stream: tuple[int, int], first_id: int, moments: tuple[float, float], market: Market
) -> Iterator[tuple[NDArray[np.int64], Simulated]]:
    """Sequences in chunks; ids are shuffled, as in the challenge, so that they do not reveal the time."""
    order = np.random.default_rng([*stream, 0]).permutation(count) + first_id
    for number, start in enumerate(range(0, count, CHUNK)):
        ids = order[start : start + CHUNK]
        rng = np.random.default_rng([*stream, 1 + number])
        moment = rng.uniform(*moments, len(ids)).astype(np.float32)
        yield ids, simulate(rng, len(ids), moment, market)


def _write_file(
    path: Path,
    chunks: Iterator[tuple[NDArray[np.int64], Simulated]],
    progress: Callable[[int], None] | None,
    schema: Schema = LOB,
) -> None:
    kinds = {schema.sequence_column: pa.int64(), schema.step_column: pa.int64(), schema.scored_column: pa.bool_()}
    arrow = pa.schema([(name, kinds.get(name, pa.float32())) for name in schema.columns])
    with appearing(path) as partial, pq.ParquetWriter(partial, arrow, compression="zstd") as writer:
        for ids, chunk in chunks:
            writer.write_table(_table(ids, chunk, arrow, schema))
            if progress is not None:
                progress(len(ids))


def _table(ids: NDArray[np.int64], chunk: Simulated, arrow: pa.Schema, schema: Schema) -> pa.Table:
    length = schema.sequence_length
    step = np.tile(np.arange(length), len(ids))
    values = np.concatenate([chunk.features, chunk.targets], axis=2).reshape(len(step), -1)
    columns = [np.repeat(ids, length), step, step >= schema.warmup_steps, *np.ascontiguousarray(values.T)]
    return pa.table([pa.array(column) for column in columns], schema=arrow)
