"""Where two parameters do more together than the sum of what each does alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from search.report.effects import FEWEST, Effects, order_of
from search.report.factors import Factor
from search.report.importance import Importance
from search.report.numbers import SEED, Floats
from search.report.page import Figure, PageTable, Section
from search.report.style import BLUES, INK, axis, broken, figure, safe, score, share

PAIRED = 12  # most important parameters whose pairs are looked at; one may matter only together with another
SHRINK = 4.0  # a cell with so many runs has its mean shrunk by half
PERMUTATIONS = 200


@dataclass(frozen=True)
class Pair:
    """Two parameters: cells (levels, levels) with mean score and runs; strength of their interaction beyond the sum."""

    first: Factor
    second: Factor
    means: Floats
    counts: Floats
    strength: float  # share of what the additive model leaves unexplained
    by_chance: float  # what the strongest of all pairs reaches in one of ten studies without any


def pairs(found: Effects, ranked: Importance | None) -> list[Pair]:
    """Pairs of the most important parameters, the strongest interaction first."""
    chosen = [found.factors[i] for i in order_of(found, ranked)[:PAIRED]]
    residual = found.values - found.model.fitted
    rng = np.random.default_rng(SEED)
    shuffled = np.array([rng.permutation(residual) for _ in range(PERMUTATIONS)])
    looked = [(a, b, *_strengths(a, b, residual, shuffled)) for a, b in combinations(chosen, 2)]
    if not looked:
        return []
    by_chance = float(np.quantile(np.max([chance for *_, chance in looked], axis=0), 0.9))
    looked.sort(key=lambda item: -item[2])
    return [_pair(found, a, b, strength, by_chance) for a, b, strength, _ in looked]


def _cells(a: Factor, b: Factor) -> tuple[Any, int]:
    """The cell of each run (n,), -1 where one of the two means nothing; and how many cells there are."""
    width = len(b.labels)
    both = (a.index >= 0) & (b.index >= 0)
    return np.where(both, a.index * width + b.index, -1), len(a.labels) * width


def _strengths(a: Factor, b: Factor, residual: Floats, shuffled: Floats) -> tuple[float, Floats]:
    """Share of the residual's variance that shrunk cell means take, for the residual and for its shuffles."""
    cell, size = _cells(a, b)
    members = cell[:, None] == np.arange(size)  # (n, cells)
    weight = 1 / (members.sum(axis=0) + SHRINK) / (float((residual**2).sum()) or 1.0)
    sums = np.vstack([residual, shuffled]) @ members.astype(float)  # (1 + PERMUTATIONS, cells)
    found = sums**2 @ weight
    return float(found[0]), found[1:]


def _pair(found: Effects, a: Factor, b: Factor, strength: float, by_chance: float) -> Pair:
    cell, size = _cells(a, b)
    inside = cell >= 0
    counts = np.bincount(cell[inside], minlength=size)
    sums = np.bincount(cell[inside], weights=found.values[inside], minlength=size)
    shape = (len(a.labels), len(b.labels))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(counts >= FEWEST, sums / counts, np.nan)
    return Pair(a, b, means.reshape(shape), counts.reshape(shape).astype(float), strength, by_chance)


def section(found: Effects | None, looked: list[Pair]) -> Section:
    """The strongest pairs as maps of the mean score."""
    title = "Parameters together"
    if found is None or not looked:
        return Section("pairs", title, "Pairs were not looked at: fewer than two parameters, or too few runs.")
    sure = [pair for pair in looked if pair.strength > pair.by_chance]
    shown = sure[:4] or looked[:2]
    strongest = looked[0]
    if sure:
        names = f"{strongest.first.name} and {strongest.second.name}"
        finding = (
            f"{names} act together: their pairing explains {share(strongest.strength)} of what the single effects "
            f"leave open (by chance the strongest pair reaches {share(strongest.by_chance)})."
        )
    else:
        finding = ""
    text = (
        f"Mean score where two parameters meet, for the {'pairs' if sure else 'two pairs'} that share most beyond the "
        "sum of their single effects."
        + ("" if sure else " None shares more than chance would show: read these maps as single effects side by side.")
    )
    rows = [[p.first.name, p.second.name, p.strength, p.by_chance, p.strength > p.by_chance] for p in looked]
    columns = ["first", "second", "share_of_rest", "by_chance", "beyond_chance"]
    return Section(
        "pairs", title, text, [_map(p) for p in shown], [PageTable("pairs", columns, rows, on_page=False)], finding
    )


def _map(pair: Pair) -> Figure:
    names = [broken(label) for label in pair.second.labels]
    others = [broken(label) for label in pair.first.labels]
    text = [
        ["" if not n else f"{score(m) if np.isfinite(m) else ''}<br>n={int(n)}" for m, n in zip(*row, strict=True)]
        for row in zip(pair.means, pair.counts, strict=True)
    ]
    known = pair.means[np.isfinite(pair.means)]
    trace = {
        "type": "heatmap",
        "x": names,
        "y": others,
        "z": [[float(v) if np.isfinite(v) else None for v in row] for row in pair.means],
        "text": text,
        "texttemplate": "%{text}",
        "textfont": {"size": 10},
        "colorscale": BLUES,
        "zmin": float(np.quantile(known, 0.1)) if len(known) else 0,
        "zmax": float(known.max()) if len(known) else 1,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hovertemplate": "%{y}, %{x}: %{text}<extra></extra>",
    }
    spec = figure(
        [trace],
        height=90 + 46 * len(others),
        x=axis(safe(pair.second.name), type="category", showgrid=False, ticks=""),
        y=axis(safe(pair.first.name), type="category", showgrid=False, ticks=""),
        font={"size": 11, "color": INK},
    )
    caption = f"Mean score and number of runs; cells of fewer than {FEWEST} runs stay blank."
    return Figure(caption, spec, "selection", title=f"{pair.first.name} with {pair.second.name}", half=True)
