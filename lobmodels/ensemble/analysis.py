"""Analyses a pool of runs as ensemble members: their scores, how they differ, how many are enough, which weights help.

Members are ordered by the selection sequences, which chose them; everything else is measured on sequences that are
named with it: the report sequences where the study set some aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.bootstrap import FEW, compare, correlations, sequence_statistics
from lobmodels.ensemble import blend
from lobmodels.errors import BundleError
from lobmodels.schema import LOB
from lobmodels.table import Table

# Of |target| where it is not 0, finer at the top: the largest moves carry most of the metric's weight.
QUANTILES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)
RANDOM_SUBSETS = 100  # drawn for each size: their score depends on the number of members alone, not on the choice
CAUTIOUS = ("shrunk", "greedy", "optimised")  # a fixed order: the report sequences must not choose the best of them
CLEAR = 0.9  # weights beat uniform ones in at least this share of resamples before they are recommended


@dataclass(frozen=True)
class Analysis:
    """All tables, the optimal weights, and on which sequences they are."""

    names: tuple[str, ...]  # of the runs, best on selection first
    on: str  # `report`, `select` or `all`
    counts: dict[str, int]  # sequences of each part
    target_names: tuple[str, ...]
    model_scores: Table
    pairwise_correlations: Table
    ensemble_vs_n_models: Table
    diversity_by_target_bucket: Table
    optimal_weights: dict[str, Any]

    def tables(self) -> dict[str, Table]:
        """The tables by name."""
        found = (self.model_scores, self.pairwise_correlations, self.ensemble_vs_n_models)
        return {table.name: table for table in (*found, self.diversity_by_target_bucket)}


def analyse(
    names: Sequence[str],
    predictions: Sequence[NDArray[np.float32]],
    targets: NDArray[np.float32],
    parts: dict[str, NDArray[np.int64]],
    on: str | None = None,
    seed: int = 0,
    target_names: Sequence[str] = LOB.targets,
) -> Analysis:
    """Analyse K runs from their predictions, K arrays (N, S, targets), and targets of that shape.

    `parts` holds the indices of the `select` and `report` sequences; `on` names the part the tables are about. Raises
    `BundleError` for fewer than two runs or a part without sequences.
    """
    if len(names) < 2:
        raise BundleError(f"an analysis compares runs, and there is {len(names)}; finish more, or name more")
    indices = {"all": np.arange(len(targets)), **parts}
    on = on or ("report" if len(parts["report"]) else "all")
    if on not in indices or not len(indices[on]):
        message = f"on={on}: there are no such sequences; choose from all, select, report"
        raise BundleError(message, arguments=["on"])
    stats = [sequence_statistics(p, targets) for p in predictions]
    order = sorted(range(len(names)), key=lambda k: -_mean(stats[k][parts["select"]]))
    names = [names[k] for k in order]
    predictions, stats = [predictions[k] for k in order], [stats[k] for k in order]
    chosen, y = [p[indices[on]] for p in predictions], targets[indices[on]]
    return Analysis(
        names=tuple(names),
        on=on,
        counts={name: len(index) for name, index in indices.items()},
        target_names=tuple(target_names),
        model_scores=_model_scores(names, [s[indices[on]] for s in stats], target_names),
        pairwise_correlations=_pairwise(names, chosen, target_names),
        ensemble_vs_n_models=_growth(names, predictions, targets, parts, target_names, seed),
        diversity_by_target_bucket=_diversity(chosen, y, target_names),
        optimal_weights=_weights(names, predictions, targets, parts, target_names, seed),
    )


def _mean(statistics: NDArray[np.float64]) -> float:
    return float(correlations(statistics.sum(0)).mean())


def _model_scores(
    names: Sequence[str], statistics: Sequence[NDArray[np.float64]], target_names: Sequence[str]
) -> Table:
    scored = [(name, _scores(values)) for name, values in zip(names, statistics, strict=True)]
    scored.sort(key=lambda item: -item[1][-1])
    rows = [(name, *scores) for name, scores in scored]
    return Table("model_scores", ("model", *(f"score_{name}" for name in (*target_names, "avg"))), rows)


def _scores(statistics: NDArray[np.float64]) -> list[float]:
    """The correlation with each target, then their mean, over all sequences together."""
    values = correlations(statistics.sum(0))
    return [*values.tolist(), float(values.mean())]


def _pairwise(names: Sequence[str], predictions: Sequence[NDArray[np.float32]], target_names: Sequence[str]) -> Table:
    """Plain correlations of the predictions of each pair: all targets pooled, and each target."""
    parts = [slice(None), *(slice(j, j + 1) for j in range(len(target_names)))]
    matrices = [_correlation(predictions, part) for part in parts]
    rows = [
        (names[i], names[j], *(float(matrix[i, j]) for matrix in matrices))
        for i in range(len(names))
        for j in range(i + 1, len(names))
    ]
    columns = ("model_i", "model_j", "corr_flat", *(f"corr_{name}" for name in target_names))
    return Table("pairwise_correlations", columns, rows)


def _correlation(predictions: Sequence[NDArray[Any]], part: slice) -> NDArray[np.float64]:
    """(K, K), from sums over sequences; 0 where a prediction does not vary."""
    k = len(predictions)
    count, total, products = 0, np.zeros(k), np.zeros((k, k))
    for i in range(len(predictions[0])):
        x = np.stack([p[i][..., part].ravel() for p in predictions]).astype(np.float64)
        count, total, products = count + x.shape[1], total + x.sum(1), products + x @ x.T
    return _normalised(products / count - np.outer(total, total) / count**2)


def _normalised(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    scale = np.sqrt(np.maximum(np.diag(covariance), 0))
    varies = np.outer(scale, scale) > 0
    return np.where(varies, covariance / np.where(varies, np.outer(scale, scale), 1), 0.0)


def _growth(
    names: Sequence[str],
    predictions: Sequence[NDArray[np.float32]],
    targets: NDArray[np.float32],
    parts: dict[str, NDArray[np.int64]],
    target_names: Sequence[str],
    seed: int,
) -> Table:
    """Uniform ensembles of the n best on selection, on both parts, and of n at random (these without clipping)."""
    known = {name: index for name, index in parts.items() if len(index)}
    sums = {name: blend.moments([p[i] for p in predictions], targets[i]) for name, i in known.items()}
    rng = np.random.default_rng(seed)
    columns = ["n_models", "model_added"]
    for name in known:
        columns += [f"{name}_{score}" for score in (*target_names, "avg", "random_avg")]
    rows, together = [], np.zeros(targets.shape)
    for n in range(1, len(names) + 1):
        row: list[Any] = [n, names[n - 1]]
        together += predictions[n - 1]
        stats = sequence_statistics(together / n, targets)
        drawn = [_subset(rng.permutation(len(names))[:n], len(names), len(target_names)) for _ in range(RANDOM_SUBSETS)]
        for name, index in known.items():
            row += [*_scores(stats[index]), float(np.mean(blend.score(drawn, sums[name])))]
        rows.append(tuple(row))
    return Table("ensemble_vs_n_models", tuple(columns), rows)


def _subset(members: NDArray[Any], count: int, targets: int) -> NDArray[np.float64]:
    """Equal weights of `members`, among `count`, for each target."""
    weights = np.zeros((count, targets))
    weights[members] = 1 / len(members)
    return weights


def _diversity(
    predictions: Sequence[NDArray[np.float32]], targets: NDArray[np.float32], target_names: Sequence[str]
) -> Table:
    """How far members differ where the target is small and where it is large, and what averaging gains there."""
    columns = ("target", "bucket", "low", "high", "rows", "weight_share", "mean_correlation", "member_spread")
    rows = []
    for j, name in enumerate(target_names):
        y = targets[..., j].ravel().astype(np.float64)
        p = np.stack([member[..., j].ravel() for member in predictions])  # (K, R) float32
        size = np.abs(y)
        for label, low, high, inside in _buckets(size):
            share = float(size[inside].sum() / size.sum()) if size.any() else 0.0
            rows.append((name, label, low, high, int(inside.sum()), share, *_gain(p[:, inside], y[inside])))
    return Table("diversity_by_target_bucket", (*columns, "member_mse", "ensemble_mse", "gain"), rows)


def _buckets(size: NDArray[np.float64]) -> list[tuple[str, float, float, NDArray[np.bool_]]]:
    """Label, bounds and rows of each bucket of |target|: exact zeros, then quantiles of the rest."""
    found = [("zero", 0.0, 0.0, size == 0)] if (size == 0).any() else []
    if not size.any():
        return found
    edges = np.quantile(size[size > 0], QUANTILES)
    place = np.clip(np.searchsorted(edges, size, side="right") - 1, 0, len(QUANTILES) - 2)
    for b in range(len(QUANTILES) - 1):
        label = f"{QUANTILES[b]:.0%}-{QUANTILES[b + 1]:.0%}"
        found.append((label, float(edges[b]), float(edges[b + 1]), (place == b) & (size > 0)))
    return [bucket for bucket in found if bucket[3].any()]


def _gain(p: NDArray[Any], y: NDArray[np.float64]) -> tuple[float, ...]:
    """Mean pairwise correlation, mean spread over members, errors of members and of their mean, relative gain."""
    p = p.astype(np.float64)
    k = len(p)
    matrix = _normalised(np.cov(p, bias=True).reshape(k, k)) if p.shape[1] > 1 else np.eye(k)
    alone, together = float(np.square(p - y).mean()), float(np.square(p.mean(0) - y).mean())
    pairs = float((matrix.sum() - np.trace(matrix)) / (k * (k - 1)))
    return pairs, float(p.std(0).mean()), alone, together, 1 - together / alone if alone else 0.0


def _weights(
    names: Sequence[str],
    predictions: Sequence[NDArray[np.float32]],
    targets: NDArray[np.float32],
    parts: dict[str, NDArray[np.int64]],
    target_names: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """Each way to weigh, fitted on selection sequences, beside uniform weights on both parts."""
    select = parts["select"]
    folds = blend.folds_of([p[select] for p in predictions], targets[select])
    total, even = blend.total(folds), blend.uniform(len(names), len(target_names))
    shrunk, amount = blend.shrunk(folds) if len(folds) > 1 else (even, 1.0)
    fitted = {
        "uniform": even,
        "optimised": blend.optimised(total),
        "shrunk": shrunk,
        "greedy": blend.greedy(total),
    }
    found: dict[str, Any] = {}
    stats = {name: sequence_statistics(blend.combine(predictions, w), targets) for name, w in fitted.items()}
    for name, weights in fitted.items():
        entry: dict[str, Any] = {"weights": {n: w.tolist() for n, w in zip(names, weights, strict=True)}}
        for part, index in parts.items():
            if len(index):
                entry[part] = dict(zip((*target_names, "avg"), _scores(stats[name][index]), strict=True))
        found[name] = entry
    found["shrunk"]["amount"] = amount
    document = {"fitted_on": "select", "compared_on": None, "recommended": "uniform", "variants": found}
    if len(parts["report"]):
        report = {name: values[parts["report"]] for name, values in stats.items()}
        for row in compare(report, "uniform", seed=seed).rows:
            if row.p_better is not None:
                found[row.name] |= {"difference_to_uniform": row.difference, "better_in": row.p_better}
        enough = len(parts["report"]) >= FEW
        clear = [name for name in CAUTIOUS if enough and found[name].get("better_in", 0.0) >= CLEAR]
        document |= {"compared_on": "report", "recommended": clear[0] if clear else "uniform"}
    return document
