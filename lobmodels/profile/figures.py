"""The figures of a profile. Each function returns one plotly figure; the page says what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lobmodels.profile.findings import shifted_columns
from lobmodels.profile.targets import LAGS, TOP_SHARES

if TYPE_CHECKING:
    from lobmodels.profile.importance import Importance
    from lobmodels.profile.measure import Profile

TRAIN, VALID, THIRD, QUIET = "#2563a8", "#d9722e", "#5b8c5a", "#9aa3ad"
SHOWN = 24  # columns in a ranked figure; tables hold all
ROW = 19  # pixels a line of a ranked figure


def _styled(figure: go.Figure, height: int, **layout: Any) -> go.Figure:
    figure.update_layout(
        template="simple_white",
        height=height,
        margin={"l": 10, "r": 16, "t": 66, "b": 10},
        font={"size": 12, "family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif"},
        legend={"orientation": "h", "yref": "container", "yanchor": "top", "y": 1, "x": 0, "title": None},
        **layout,
    )
    figure.update_xaxes(automargin=True, showgrid=True, gridcolor="#eceff2")
    figure.update_yaxes(automargin=True)
    return figure


def _stacked(titles: list[str], **options: Any) -> go.Figure:
    """Panels one above the other: side by side they would be too narrow for a telephone."""
    figure = make_subplots(rows=len(titles), cols=1, subplot_titles=titles, **options)
    figure.update_annotations(font_size=13, x=0, xanchor="left")
    return figure


def scale(profile: Profile) -> go.Figure:
    """Mean and standard deviation of each raw column in both files."""
    columns = [column for column in profile.columns if column.group.endswith(("prices", "volumes"))]
    names = [column.name for column in columns]
    figure = go.Figure()
    for label, color, offset in (("train", TRAIN, -0.17), ("valid", VALID, 0.17)):
        moments = [getattr(column, label) for column in columns]
        figure.add_scatter(
            y=np.arange(len(names)) + offset,
            x=[m[0] for m in moments],
            error_x={"type": "data", "array": [m[1] for m in moments], "thickness": 1.4, "width": 0},
            mode="markers",
            marker={"color": color, "size": 6},
            name=label,
            text=names,
            hovertemplate="%{text}: %{x:.3f} ± %{error_x.array:.3f}",
        )
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, autorange="reversed", tickfont={"size": 11})
    return _styled(figure, 110 + ROW * len(names), xaxis_title="mean ± standard deviation")


def shift(profile: Profile) -> go.Figure:
    """KS distance of the most shifted columns, beside what chance would show."""
    columns = shifted_columns(profile)[:SHOWN][::-1]
    names = [column.name for column in columns]
    figure = go.Figure()
    figure.add_bar(
        y=names, x=[column.ks for column in columns], orientation="h", marker={"color": VALID}, name="train to valid"
    )
    figure.add_scatter(
        y=names,
        x=[column.ks_chance for column in columns],
        mode="markers",
        marker={"color": "#333", "symbol": "line-ns-open", "size": 11},
        name="within train, by chance",
    )
    figure.update_yaxes(tickfont={"size": 11}, dtick=1)
    return _styled(figure, 110 + ROW * len(names), xaxis_title="KS distance")


def autocorrelation(profile: Profile) -> go.Figure:
    """Autocorrelation of each target and of its size over the lags."""
    figure = _stacked(list(profile.target_names), vertical_spacing=0.14)
    lags = np.arange(LAGS + 1)
    for k in range(len(profile.target_names)):
        for label, found, color in _both(profile):
            for kind, dash in (("autocorrelation", "solid"), ("size_autocorrelation", "dot")):
                figure.add_scatter(
                    x=lags,
                    y=getattr(found, kind)[:, k],
                    line={"color": color, "dash": dash, "width": 1.8},
                    name=label if kind == "autocorrelation" else f"{label}, of |target|",
                    showlegend=k == 0,
                    row=k + 1,
                    col=1,
                )
    figure.update_xaxes(range=[0, LAGS], tickvals=list(range(0, LAGS + 1, 20)))
    figure.update_xaxes(title="lag in events", row=len(profile.target_names), col=1)
    return _styled(figure, 470)


def cross_correlation(profile: Profile) -> go.Figure:
    """Correlation of t0 now with t1 at other steps."""
    figure = go.Figure()
    lags = np.arange(-LAGS, LAGS + 1)
    for label, found, color in _both(profile):
        figure.add_scatter(x=lags, y=found.cross_correlation, line={"color": color, "width": 1.8}, name=label)
    figure.update_xaxes(range=[-LAGS, LAGS], tickvals=list(range(-LAGS, LAGS + 1, 50)))
    first, second = profile.target_names[0], profile.target_names[-1]
    return _styled(
        figure, 300, xaxis_title=f"events by which {second} is later than {first}", yaxis_title="correlation"
    )


def concentration(profile: Profile) -> go.Figure:
    """Share of the metric's weight on the rows and on the sequences that carry most of it."""
    figure = _stacked(list(profile.target_names), vertical_spacing=0.16)
    for k in range(len(profile.target_names)):
        for label, found, color in _both(profile):
            for kind, dash, what in (("top_share", "solid", "rows"), ("top_share_sequences", "dot", "sequences")):
                figure.add_scatter(
                    x=[100 * share for share in TOP_SHARES],
                    y=100 * getattr(found, kind)[:, k],
                    mode="lines+markers",
                    line={"color": color, "dash": dash, "width": 1.8},
                    name=f"{label}, {what}",
                    showlegend=k == 0,
                    row=k + 1,
                    col=1,
                )
    ticks = [100 * share for share in TOP_SHARES]
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g} %" for tick in ticks])
    figure.update_yaxes(range=[0, 100], ticksuffix=" %")
    figure.update_xaxes(title="heaviest share of rows or sequences", row=len(profile.target_names), col=1)
    return _styled(figure, 520)


def large_moves(profile: Profile) -> go.Figure:
    """How much likelier a large move is some steps after another."""
    figure = go.Figure()
    for k, name in enumerate(profile.target_names):
        for label, found, color in _both(profile):
            figure.add_scatter(
                x=np.arange(1, LAGS + 1),
                y=found.large_lift[1:, k],
                line={"color": color, "dash": ("solid", "dot")[k % 2], "width": 1.8},
                name=f"{name}, {label}",
            )
    figure.add_hline(y=1, line={"color": QUIET, "width": 1})
    figure.update_xaxes(type="log", tickvals=[1, 2, 5, 10, 20, 50, 100])
    return _styled(figure, 340, xaxis_title="events after a large move", yaxis_title="lift")


def correlations(profile: Profile, k: int) -> go.Figure:
    """Correlation of the strongest columns with target `k`, plain and weighted, in both files."""
    strongest = sorted(profile.columns, key=lambda column: -abs(column.weighted_train[k]))[:SHOWN][::-1]
    names = [column.name for column in strongest]
    figure = go.Figure()
    for label, color in (("train", TRAIN), ("valid", VALID)):
        for kind, symbol in (("weighted", "circle"), ("plain", "circle-open")):
            figure.add_scatter(
                y=names,
                x=[getattr(column, f"{kind}_{label}")[k] for column in strongest],
                mode="markers",
                marker={"color": color, "symbol": symbol, "size": 8},
                name=f"{label}, {kind}",
            )
    figure.add_vline(x=0, line={"color": QUIET, "width": 1})
    figure.update_yaxes(tickfont={"size": 11}, dtick=1, showgrid=True, gridcolor="#f3f5f7")
    return _styled(figure, 130 + ROW * len(names), xaxis_title=f"correlation with {profile.target_names[k]}")


def ridge_scores(profile: Profile) -> go.Figure:
    """Score of each ridge on train and on valid."""
    scores = profile.ridges.scores[::-1]
    names = [item.ridge.name for item in scores]
    figure = go.Figure()
    for label, color in (("train", TRAIN), ("valid", VALID)):
        parts = [getattr(item, label) for item in scores]
        figure.add_scatter(
            y=names,
            x=[part.mean for part in parts],
            error_x={"type": "data", "array": [part.mean_error for part in parts], "thickness": 1.3, "width": 3},
            mode="markers",
            marker={"color": color, "size": 8},
            name=label,
        )
    return _styled(figure, 330, xaxis_title="mean weighted Pearson")


def importance(profile: Profile, items: list[Importance]) -> go.Figure:
    """Drop of the score per group and target when its columns are permuted."""
    ordered = items[::-1]
    groups = [item.group for item in ordered]
    figure = go.Figure()
    pairs = list(zip(range(len(profile.target_names)), profile.target_names, (TRAIN, THIRD), strict=False))
    for k, name, color in reversed(pairs):  # horizontal bars stack upwards
        figure.add_bar(
            y=groups,
            x=[float(item.drop.values[k]) for item in ordered],
            error_x={"type": "data", "array": [float(item.drop.errors[k]) for item in ordered], "thickness": 1.2},
            orientation="h",
            marker={"color": color},
            name=name,
        )
    return _styled(
        figure,
        120 + 34 * len(groups),
        xaxis_title="drop of weighted Pearson",
        barmode="group",
        legend_traceorder="reversed",
    )


def _both(profile: Profile) -> tuple[tuple[str, Any, str], tuple[str, Any, str]]:
    return ("train", profile.train_targets, TRAIN), ("valid", profile.valid_targets, VALID)
