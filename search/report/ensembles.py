"""What averaging runs gains, from the files of `lobtuna ensemble` where they exist."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.errors import ReportError
from search.report.page import Figure, PageTable, Section
from search.report.record import Study
from search.report.style import BLUES, COMPLETE, REPORT, Spec, axis, figure, line, plural, safe, score
from search.study.open import SEEDS

FOLDER = Path("analysis")  # where `lobtuna ensemble` writes by default
SHOWN = 20  # most runs in the map of correlations


@dataclass(frozen=True)
class Ensembles:
    """An analysis read from its files. `growth` and `pairs` are rows by column name."""

    folder: Path
    models: list[str]
    on: str
    sequences: dict[str, int]
    growth: list[dict[str, str]]
    pairs: list[dict[str, str]]
    weights: dict[str, Any]


def read_ensembles(study: Study, folder: Path | None) -> Ensembles | None:
    """The analysis in `folder`, or the one in the usual place if it is of this study; None where there is none.

    Raises `ReportError` for a named folder that holds none, or one of another study.
    """
    place = folder or FOLDER
    about = place / "analysis.json"
    if folder is None and not about.is_file():
        return None
    try:
        found = _read(place)
    except (OSError, KeyError, ValueError, TypeError) as error:
        if folder is None:
            return None
        raise ReportError(
            f"{folder} holds no analysis that can be read ({error}): write one with lobtuna ensemble {study.name} "
            f"--output {folder}"
        ) from None
    strangers = [m for m in found.models if m.partition("#")[0] not in (study.name, study.name + SEEDS)]
    if not strangers:
        return found
    if folder is None:
        return None
    raise ReportError(f"{folder} is an analysis of other runs ({strangers[0]}), not of study {study.name!r}")


def _read(folder: Path) -> Ensembles:
    about = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))
    tables = []
    for name in ("ensemble_vs_n_models", "pairwise_correlations"):
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            tables.append(list(csv.DictReader(file)))
    weights = json.loads((folder / "optimal_weights.json").read_text(encoding="utf-8"))
    models = [str(model) for model in about["models"]]
    counts = {str(name): int(count) for name, count in about["sequences"].items()}
    return Ensembles(folder, models, str(about["scores_on"]), counts, tables[0], tables[1], weights)


def section(study: Study, found: Ensembles | None) -> Section:
    """Score over the number of members, how similar they are, and what fitted weights would gain."""
    title = "Ensembles"
    if found is None:
        text = (
            "No analysis of this study's runs is at hand. Write one, then this report again:\n"
            f"lobtuna ensemble {study.name} --data ~/lob"
        )
        return Section("ensembles", title, text)
    counts = found.sequences
    text = (
        f"{plural(len(found.models), 'run')} of this study as members, from {found.folder}. Members are ordered by the "
        f"{counts.get('select', 0)} selection sequences; {counts.get('report', 0)} report sequences judge them."
    )
    figures = [
        Figure(
            "Score of the uniform average of the best runs on selection, over their number. Dotted: as many runs "
            "drawn at random, which separates the effect of their number from that of the choice.",
            _growth(found),
            "both" if counts.get("report") else "selection",
            title="How many are enough",
            half=True,
        ),
        Figure(
            "Correlation of the predictions of each pair of runs, both targets pooled. Averaging gains most where it "
            "is low.",
            _alike(found),
            title="How alike they are",
            half=True,
        ),
    ]
    return Section("ensembles", title, text, figures, [_weights(found)], _finding(found))


def _growth(found: Ensembles) -> Spec:
    n = [int(row["n_models"]) for row in found.growth]
    traces = []
    for part, name, color in (("select", "selection", COMPLETE), ("report", "report", REPORT)):
        if f"{part}_avg" not in found.growth[0]:
            continue
        values = [float(row[f"{part}_avg"]) for row in found.growth]
        traces.append(line(n, values, name, color, mode="lines+markers", marker={"size": 6}))
        drawn = [float(row[f"{part}_random_avg"]) for row in found.growth]
        traces.append(line(n, drawn, f"{name}, at random", color, line={"dash": "dot", "width": 1.4}))
    return figure(traces, height=360, x=axis("members", **({"dtick": 1} if len(n) <= 12 else {})), y=axis("score"))


def _alike(found: Ensembles) -> Spec:
    names = found.models[:SHOWN]
    place = {name: i for i, name in enumerate(names)}
    matrix: list[list[float | None]] = [[None] * len(names) for _ in names]
    for row in found.pairs:
        i, j = place.get(row["model_i"]), place.get(row["model_j"])
        if i is not None and j is not None:
            matrix[i][j] = matrix[j][i] = round(float(row["corr_flat"]), 4)
    labels = [safe(name) for name in names]
    trace = {
        "type": "heatmap",
        "x": labels,
        "y": labels,
        "z": matrix,
        "colorscale": BLUES,
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": {"size": 11}},
        "hovertemplate": "%{y}, %{x}: %{z:.3f}<extra></extra>",
    }
    x = axis("", type="category", showgrid=False, ticks="", showticklabels=len(names) <= 12)
    y = axis("", type="category", showgrid=False, ticks="", autorange="reversed")
    return figure([trace], height=360, x=x, y=y)


def _weights(found: Ensembles) -> PageTable:
    rows = []
    for name, entry in found.weights["variants"].items():
        parts = [entry.get(part, {}).get("avg") for part in ("select", "report")]
        rows.append([name, *parts, entry.get("difference_to_uniform"), entry.get("better_in")])
    columns = ["weights", "select", "report", "difference to uniform", "better in resamples"]
    return PageTable(
        "ensemble_weights", columns, rows, "Ways to weigh the members, fitted on selection", sequences="both"
    )


def _finding(found: Ensembles) -> str:
    part = "report" if found.sequences.get("report") else "select"
    words = "sequences no decision has seen" if part == "report" else "the selection sequences"
    if len(found.growth) < 2:
        return ""
    one, last = float(found.growth[0][f"{part}_avg"]), float(found.growth[-1][f"{part}_avg"])
    text = f"Averaging the best {len(found.growth)} runs scores {score(last)} on {words}, the best alone {score(one)}"
    best = str(found.weights.get("recommended", "uniform"))
    return text + (
        "; no fitted weights clearly beat uniform ones." if best == "uniform" else f"; {best} weights beat it."
    )
