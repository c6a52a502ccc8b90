"""Figures of an ensemble analysis, one page each, readable without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from lobmodels.ensemble.analysis import Analysis
from lobmodels.files import write_atomically

COLOURS = ("#1f5fa8", "#c8552b", "#4c8c4a", "#7d5ba6")  # distinct in print and for colour-blind readers
SEQUENCES = {
    "report": "report sequences, which no run was chosen by",
    "select": "selection sequences, which the search has seen",
    "all": "all validation sequences",
}


def write_plots(analysis: Analysis, folder: Path) -> list[Path]:
    """One HTML page a table into `folder`, and one plotly.min.js that they share."""
    figures = {
        "model_scores": _model_scores(analysis),
        "pairwise_correlations": _pairwise(analysis),
        "ensemble_vs_n_models": _growth(analysis),
        "diversity_by_target_bucket": _diversity(analysis),
        "optimal_weights": _weights(analysis),
    }
    written = []
    for name, figure in figures.items():
        figure.update_layout(template="plotly_white", colorway=list(COLOURS), font={"size": 13}, margin={"t": 70})
        written.append(folder / f"{name}.html")
        write_atomically(written[-1], figure.to_html(include_plotlyjs="directory", div_id=name))
    library = folder / "plotly.min.js"
    if not library.is_file():
        write_atomically(library, get_plotlyjs())
    return written


def _title(analysis: Analysis, text: str, on: str | None = None) -> str:
    on = on or analysis.on
    return f"{text}<br><sup>{analysis.counts[on]} {SEQUENCES[on]}</sup>"


def _model_scores(analysis: Analysis) -> Any:
    table = analysis.model_scores
    figure = go.Figure()
    for column in table.columns[1:]:
        symbol = "diamond" if column == "score_avg" else "circle"
        figure.add_scatter(
            x=table.column(column),
            y=table.column("model"),
            mode="markers",
            name=column.removeprefix("score_"),
            marker={"size": 9, "symbol": symbol},
        )
    figure.update_layout(title=_title(analysis, "Weighted Pearson of each run"), height=160 + 22 * len(table.rows))
    figure.update_yaxes(autorange="reversed")
    return figure.update_xaxes(title="weighted Pearson")


def _pairwise(analysis: Analysis) -> Any:
    table, names = analysis.pairwise_correlations, list(analysis.names)
    figure = go.Figure()
    kinds = table.columns[2:]
    for kind in kinds:
        matrix = np.eye(len(names))
        for i, j, value in zip(table.column("model_i"), table.column("model_j"), table.column(kind), strict=True):
            matrix[names.index(i), names.index(j)] = matrix[names.index(j), names.index(i)] = value
        figure.add_heatmap(
            z=matrix.round(4).tolist(),  # lists: plotly writes arrays as base64, which no one can read
            x=names,
            y=names,
            colorscale="Blues",
            visible=kind == "corr_flat",
            hovertemplate="%{y} and %{x}: %{z:.4f}<extra></extra>",
        )
    buttons = [
        {"label": kind, "method": "update", "args": [{"visible": [kind == other for other in kinds]}]} for kind in kinds
    ]
    size = 260 + 24 * len(names)
    figure.update_layout(
        title=_title(analysis, "Correlation of the runs' predictions"),
        updatemenus=[{"buttons": buttons, "x": 1.0, "xanchor": "right", "y": 1.12}],
        height=size,
        width=size + 140,
    )
    return figure.update_yaxes(autorange="reversed")


def _growth(analysis: Analysis) -> Any:
    table = analysis.ensemble_vs_n_models
    figure = go.Figure()
    for colour, part in zip(COLOURS, ("select", "report"), strict=False):
        if f"{part}_avg" not in table.columns:
            continue
        n = table.column("n_models")
        figure.add_scatter(
            x=n, y=table.column(f"{part}_avg"), name=f"{part}: the n best", text=table.column("model_added"),
            mode="lines+markers", line={"color": colour},
        )  # fmt: skip
        figure.add_scatter(
            x=n, y=table.column(f"{part}_random_avg"), name=f"{part}: n at random", mode="lines",
            line={"color": colour, "dash": "dot"},
        )  # fmt: skip
    figure.update_layout(
        title="Uniform ensembles by number of members<br><sup>members join by their selection score</sup>"
    )
    figure.update_xaxes(title="members", dtick=max(1, len(table.rows) // 15))
    return figure.update_yaxes(title="mean weighted Pearson")


def _diversity(analysis: Analysis) -> Any:
    table = analysis.diversity_by_target_bucket
    figure = go.Figure()
    for colour, target in zip(COLOURS, analysis.target_names, strict=False):
        rows = [row for row in table.records() if row["target"] == target]
        buckets = [row["bucket"] for row in rows]
        figure.add_bar(x=buckets, y=[row["gain"] for row in rows], name=f"{target}: gain", marker={"color": colour})
        figure.add_scatter(
            x=buckets, y=[row["mean_correlation"] for row in rows], name=f"{target}: correlation", yaxis="y2",
            mode="lines+markers", line={"color": colour, "dash": "dot"},
        )  # fmt: skip
    figure.update_layout(
        title=_title(analysis, "What averaging gains, by size of the target"),
        yaxis={"title": "squared error saved against a single run", "tickformat": ".1%"},
        yaxis2={
            "title": "mean correlation of two runs",
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
            "tickformat": ".2f",
        },
        legend={"orientation": "h", "y": -0.2},
    )
    return figure.update_xaxes(title="quantiles of |target|")


def _weights(analysis: Analysis) -> Any:
    variants = analysis.optimal_weights["variants"]
    figure = go.Figure()
    for name, entry in variants.items():
        weights = np.array(list(entry["weights"].values())).mean(1)
        scored = ", ".join(f"{part} {entry[part]['avg']:.4f}" for part in ("select", "report") if part in entry)
        figure.add_bar(x=list(entry["weights"]), y=weights.tolist(), name=f"{name} ({scored})")
    figure.update_layout(
        title="Weights fitted on the selection sequences<br><sup>mean over targets; recommended: "
        f"{analysis.optimal_weights['recommended']}</sup>",
        legend={"orientation": "h", "y": -0.3},
    )
    return figure.update_yaxes(title="weight")
