"""How the best runs score where validation differs most from training, from the diagnostics in their checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from lobmodels.errors import CheckpointError
from search.report.page import Figure, PageTable, Section
from search.report.record import Study, Trial
from search.report.style import COMPLETE, axis, figure, listed, plural, points, score
from search.study.runs import load_checkpoint
from storage.errors import ArtifactError

RUNS = 5  # best runs whose checkpoints are read


@dataclass(frozen=True)
class Bucket:
    """Scores of several runs on the rows in which one feature lies in one fifth of its range."""

    feature: str
    ks: float
    bucket: int
    low: float
    high: float
    rows: int
    runs: tuple[int, ...]
    means: tuple[float, ...]  # one a run


def read_buckets(source: optuna.Study, study: Study) -> tuple[list[Bucket], list[str]]:
    """Buckets of the best runs that still have a checkpoint, and why others could not be read."""
    best = sorted((t for t in study.finished if t.checkpoint), key=lambda t: -(t.value or 0.0))[:RUNS]
    entries: dict[tuple[str, int], list[tuple[Trial, dict[str, Any]]]] = {}
    problems: list[str] = []
    for trial in best:
        try:
            checkpoint = load_checkpoint(source, trial)
        except (ArtifactError, CheckpointError) as error:
            problems.append(f"trial {trial.number}: {error}")
            continue
        for entry in checkpoint.diagnostics.get("shift_buckets", []):
            entries.setdefault((str(entry["feature"]), int(entry["bucket"])), []).append((trial, entry))
    return [_bucket(key, found) for key, found in entries.items()], problems


def _bucket(key: tuple[str, int], found: Sequence[tuple[Trial, dict[str, Any]]]) -> Bucket:
    first = found[0][1]
    return Bucket(
        feature=key[0],
        ks=float(first["ks"]),
        bucket=key[1],
        low=float(first["low"]),
        high=float(first["high"]),
        rows=int(first["rows"]),
        runs=tuple(trial.number for trial, _ in found),
        means=tuple(float(entry["mean"]) for _, entry in found),
    )


def section(buckets: Sequence[Bucket], problems: Sequence[str]) -> Section:
    """Score over the fifths of each shifted feature."""
    title = "Score where the data shift"
    if not buckets:
        why = f"None could be read: {problems[0]}" if problems else "No finished run has a checkpoint with diagnostics."
        return Section("shift", title, why)
    features = sorted({b.feature for b in buckets}, key=lambda name: -max(b.ks for b in buckets if b.feature == name))
    runs = sorted({run for b in buckets for run in b.runs})
    text = (
        f"Mean score of {_runs(runs)} on the rows in which a feature lies in each fifth of its values, for the "
        "features whose distribution differs most between training and validation (KS: largest distance of the two "
        "distributions). A fifth in which the score drops is where the model meets what it has not learned; it may "
        "also drop because the targets vary less there."
        + (f" {plural(len(problems), 'checkpoint')} could not be read." if problems else "")
    )
    every = [m for b in buckets for m in b.means]
    margin = 0.06 * (max(every) - min(every)) or 0.01
    limits = [min(every) - margin, max(every) + margin]
    figures = [_figure(name, [b for b in buckets if b.feature == name], limits) for name in features]
    columns = ["feature", "ks", "fifth", "from", "to", "rows", "runs", "mean_score", "lowest", "highest"]
    rows = []
    for b in buckets:
        spread = (float(np.mean(b.means)), min(b.means), max(b.means))
        rows.append([b.feature, b.ks, b.bucket + 1, b.low, b.high, b.rows, len(b.means), *spread])
    table = PageTable("shift_buckets", columns, rows, on_page=False)
    return Section("shift", title, text, figures, [table], _finding(buckets, features))


def _runs(numbers: Sequence[int]) -> str:
    names = listed([str(number) for number in numbers])
    return f"trial {names}" if len(numbers) == 1 else f"the best runs with a checkpoint (trials {names})"


def _finding(buckets: Sequence[Bucket], features: Sequence[str]) -> str:
    own = sorted((b for b in buckets if b.feature == features[0]), key=lambda b: b.bucket)
    means = [float(np.mean(b.means)) for b in own]
    worst, best = int(np.argmin(means)), int(np.argmax(means))
    if len(own) < 2 or max(own[worst].means) >= min(own[best].means):
        return ""
    return (
        f"Along {features[0]}, the most shifted feature, the best runs score between {score(means[worst])} (fifth "
        f"{worst + 1}) and {score(means[best])} (fifth {best + 1})."
    )


def _figure(name: str, own: Sequence[Bucket], limits: list[float]) -> Figure:
    own = sorted(own, key=lambda b: b.bucket)
    labels = [f"{b.low:.2g}<br>to {b.high:.2g}" for b in own]
    x = list(range(len(own)))
    each = points(
        [i for i, b in enumerate(own) for _ in b.means],
        [m for b in own for m in b.means],
        "runs",
        COMPLETE,
        marker={"size": 6, "opacity": 0.4},
        showlegend=False,
        hovertemplate="%{y:.4f}<extra></extra>",
    )
    means = [float(np.mean(b.means)) for b in own]
    middle = points(x, means, "mean", COMPLETE, mode="lines+markers", marker={"size": 8}, showlegend=False)
    spec = figure(
        [each, middle],
        height=240,
        x=axis("", tickvals=x, ticktext=labels),
        y=axis("score", range=limits),
    )
    return Figure(f"KS {own[0].ks:.2f} between training and validation.", spec, "selection", title=name, half=True)
