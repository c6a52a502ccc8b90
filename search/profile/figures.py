"""The figures of a data profile, in the style of the reports. Train and valid keep their colours throughout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lobmodels.profile.targets import LAGS, TOP_SHARES
from search.report.style import (
    COMPLETE,
    PRUNED,
    QUIET,
    REPLICATE,
    Spec,
    axis,
    bars,
    figure,
    line,
    points,
    rule,
    with_rules,
)

if TYPE_CHECKING:
    from lobmodels.profile.importance import Importance, Scores
    from lobmodels.profile.measure import ColumnProfile, Profile
    from lobmodels.profile.targets import TargetProfile

TRAIN, VALID = COMPLETE, PRUNED
FILES = (("train", TRAIN), ("valid", VALID))
LINE = 19  # pixels per row of a ranked figure
SHOWN = 24  # columns in a ranked figure; the tables hold all


def scale(columns: Sequence[ColumnProfile]) -> Spec:
    """Mean and standard deviation of each column in both files."""
    names = [column.name for column in columns]
    traces = []
    for (label, color), offset in zip(FILES, (-0.17, 0.17), strict=True):
        moments = [getattr(column, label) for column in columns]
        traces.append(
            points(
                [m[0] for m in moments],
                [i + offset for i in range(len(names))],
                label,
                color,
                error_x={"type": "data", "array": [m[1] for m in moments], "thickness": 1.4, "width": 0},
                text=names,
                hovertemplate="%{text}: %{x:.3f} ± %{error_x.array:.3f}",
            )
        )
    rows = axis(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.4, -0.6], tickfont={"size": 11})
    return figure(traces, height=90 + LINE * len(names), x="mean ± standard deviation", y=rows)


def shift(columns: Sequence[ColumnProfile]) -> Spec:
    """KS distance of columns from train to valid, beside what chance would show."""
    names = [column.name for column in columns]
    chance = points(
        [column.ks_chance for column in columns],
        names,
        "within train, by chance",
        "#1d2733",
        marker={"symbol": "line-ns-open", "size": 11},
    )
    traces = [bars([column.ks for column in columns], names, "train to valid", VALID, orientation="h"), chance]
    return figure(traces, height=90 + LINE * len(names), x="KS distance", y=_ranked())


def autocorrelation(profile: Profile, k: int) -> Spec:
    """Autocorrelation of target `k` and of its size."""
    lags = list(range(LAGS + 1))
    traces = []
    for label, color, found in _files(profile):
        traces.append(line(lags, found.autocorrelation[:, k].tolist(), label, color))
        size = found.size_autocorrelation[:, k].tolist()
        traces.append(line(lags, size, f"{label}, of |target|", color, line={"dash": "dot"}))
    steps = {"title": "lag in events", "range": [0, LAGS], "dtick": 20}
    return figure(traces, height=300, x=steps, y="autocorrelation")


def cross_correlation(profile: Profile) -> Spec:
    """Correlation of the first target now with the last at other steps."""
    lags = list(range(-LAGS, LAGS + 1))
    traces = [line(lags, found.cross_correlation.tolist(), label, color) for label, color, found in _files(profile)]
    first, last = profile.target_names[0], profile.target_names[-1]
    steps = {"title": f"events by which {last} is later than {first}", "range": [-LAGS, LAGS], "dtick": 50}
    return with_rules(figure(traces, height=300, x=steps, y="correlation"), rule(0))


def concentration(profile: Profile, k: int) -> Spec:
    """Share of target `k`'s weight on the rows and on the sequences that carry most of it."""
    ticks = [100 * share for share in TOP_SHARES]
    traces = []
    for label, color, found in _files(profile):
        for kind, dash, what in (("top_share", "solid", "rows"), ("top_share_sequences", "dot", "sequences")):
            weight = [100 * float(share) for share in getattr(found, kind)[:, k]]
            style = {"dash": dash}
            traces.append(line(ticks, weight, f"{label}, {what}", color, line=style, mode="lines+markers"))
    heaviest = {
        "title": "heaviest share of rows or sequences",
        "type": "log",
        "range": [math.log10(ticks[0] / 1.4), math.log10(ticks[-1] * 1.4)],
        "tickvals": [0.1, 1, 5, 20, 50],
        "ticksuffix": " %",
        "tickangle": 0,
    }
    return figure(
        traces, height=320, x=heaviest, y={"title": "share of the weight", "range": [0, 102], "ticksuffix": " %"}
    )


def large_moves(profile: Profile) -> Spec:
    """How much likelier a large move is some steps after another."""
    steps = list(range(1, LAGS + 1))
    traces = [
        line(steps, found.large_lift[1:, k].tolist(), f"{name}, {label}", color, line={"dash": dash})
        for k, (name, dash) in enumerate(zip(profile.target_names, ("solid", "dot"), strict=False))
        for label, color, found in _files(profile)
    ]
    later = {"title": "events after a large move", "type": "log", "tickvals": [1, 2, 5, 10, 20, 50, 100]}
    return with_rules(figure(traces, height=340, x=later, y="lift"), rule(1, vertical=False))


def correlations(columns: Sequence[ColumnProfile], k: int, target: str) -> Spec:
    """Correlation of columns with target `k`, plain and weighted, in both files."""
    names = [column.name for column in columns]
    traces = [
        points(
            [getattr(column, f"{kind}_{label}")[k] for column in columns],
            names,
            f"{label}, {kind}",
            color,
            marker={"symbol": symbol, "size": 8},
        )
        for label, color in FILES
        for kind, symbol in (("weighted", "circle"), ("plain", "circle-open"))
    ]
    drawn = figure(traces, height=110 + LINE * len(names), x=f"correlation with {target}", y=_ranked())
    return with_rules(drawn, rule(0))


def ridge_scores(profile: Profile) -> Spec:
    """Score of each ridge on train and on valid."""
    names = [item.ridge.name for item in profile.ridges.scores]
    traces = []
    for label, color in FILES:
        scores: list[Scores] = [getattr(item, label) for item in profile.ridges.scores]
        bar = {"type": "data", "array": [score.mean_error for score in scores], "thickness": 1.3, "width": 3}
        traces.append(points([score.mean for score in scores], names, label, color, error_x=bar, marker={"size": 8}))
    return figure(traces, height=300, x="mean weighted Pearson", y=_ranked())


def importance(items: Sequence[Importance], targets: Sequence[str]) -> Spec:
    """Drop of the score per group and target when its columns are permuted."""
    groups = [item.group for item in items]
    traces = []
    for k, (name, color) in enumerate(zip(targets, (TRAIN, REPLICATE), strict=False)):
        bar = {"type": "data", "array": [float(item.drop.errors[k]) for item in items], "thickness": 1.2, "width": 3}
        drops = [float(item.drop.values[k]) for item in items]
        traces.append(bars(drops, groups, name, color, orientation="h", error_x={**bar, "color": QUIET}))
    return figure(traces, height=90 + 36 * len(groups), x="drop of weighted Pearson", y=_ranked(), barmode="group")


def _files(profile: Profile) -> list[tuple[str, str, TargetProfile]]:
    return [("train", TRAIN, profile.train_targets), ("valid", VALID, profile.valid_targets)]


def _ranked() -> dict[str, Any]:
    """An axis of names whose first is on top."""
    return axis(autorange="reversed", dtick=1, tickfont={"size": 11})
