"""The score of predictions per target, whole or streamed batch by batch: the challenge's, or another that data names.

Every metric is a function of the same weighted moments of prediction and target, so that whole arrays, streams of
batches (`lobmodels.training.scores`) and resampled sequences (`lobmodels.bootstrap`) share one definition. A plugin's
metric is the exception: any function of all rows, which are then gathered. Higher is better for all of them. numpy
alone, until tensors arrive: no command waits for torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lobmodels.errors import ConfigError, PluginError
from lobmodels.registry import Registry
from lobmodels.schema import LOB, Schema

Floats = NDArray[np.float64]
WEIGHT_FLOOR = 1e-8
FLAT = 1e-24  # a variance below this share of the squared mean is the rounding noise of a constant


@dataclass(frozen=True)
class Moments:
    """Weighted moments of rows per target, numpy arrays or tensors (..., K): the sum of the weights, the means of
    prediction and target, and the sums of w (p - mean)², w (p - mean)(y - mean), w (y - mean)²."""

    weight: Any
    mean_p: Any
    mean_y: Any
    pp: Any
    py: Any
    yy: Any

    @property
    def prediction_flat(self) -> Any:
        """Where the prediction does not vary."""
        return self.pp <= FLAT * self.weight * self.mean_p**2

    @property
    def target_flat(self) -> Any:
        """Where the target does not vary."""
        return self.yy <= FLAT * self.weight * self.mean_y**2

    @property
    def squared_error(self) -> Any:
        """Sum of w (p - y)²."""
        return self.pp - 2 * self.py + self.yy + self.weight * (self.mean_p - self.mean_y) ** 2


@dataclass(frozen=True)
class Metric:
    """One way to score. `rows(p, y)` gives prediction, target and weight of each row, `value` the score of moments."""

    title: str
    short: str  # for an axis
    rows: Callable[[Any, Any], tuple[Any, Any, Any]]
    value: Callable[[Moments], Any]
    lowest: float  # no score is lower, or it is far below any useful one: stands for a run that diverged
    correlates: bool = False  # whether the scale of a prediction does not matter
    whole: str | None = None  # name of a plugin's function of all rows, which then stands in the place of `value`


def _library(x: Any) -> Any:
    """numpy for its arrays, torch for tensors. Both have the functions that are used below."""
    if isinstance(x, (np.ndarray, np.generic)):
        return np
    import torch

    return torch


def _of_size(p: Any, y: Any) -> tuple[Any, Any, Any]:
    """Rows weigh max(|y|, 1e-8)."""
    return p, y, _library(y).clip(abs(y), WEIGHT_FLOOR, None)


def _equal(p: Any, y: Any) -> tuple[Any, Any, Any]:
    """All rows weigh the same."""
    return p, y, _library(y).ones_like(y)


def _signs(p: Any, y: Any) -> tuple[Any, Any, Any]:
    """Signs instead of values; rows whose target is 0 have no sign and weigh nothing."""
    sign = _library(y).sign
    return sign(p), sign(y), sign(y) ** 2


def _unless(nothing: Any, numerator: Any, denominator: Any) -> Any:
    """The ratio, and 0 where `nothing` holds. A ratio of something that is not a number stays visible."""
    library = _library(numerator)
    ratio = numerator / library.where(nothing, library.ones_like(denominator), denominator)
    return library.where(nothing, library.zeros_like(ratio), ratio)


def _correlation(m: Moments) -> Any:
    product = m.pp * m.yy
    return _unless(m.prediction_flat | m.target_flat, m.py, _library(product).sqrt(product))


def _r2(m: Moments) -> Any:
    """1 - squared error / variation of the target; 0 where the target does not vary."""
    return _unless(m.target_flat, m.yy - m.squared_error, m.yy)


def _mse(m: Moments) -> Any:
    return -_unless(m.weight == 0, m.squared_error, m.weight)


def _sign_accuracy(m: Moments) -> Any:
    """Share of rows with the target's sign; a prediction of exactly 0 counts as half. 0 where every target is 0."""
    agreement = m.py + m.weight * m.mean_p * m.mean_y
    return _unless(m.weight == 0, (m.weight + agreement) / 2, m.weight)


FAR = -1e9  # of scores without a lower bound
METRICS: dict[str, Metric] = {
    "weighted_pearson": Metric(
        "weighted Pearson correlation", "weighted Pearson", _of_size, _correlation, -1.0, correlates=True
    ),
    "pearson": Metric("Pearson correlation", "Pearson", _equal, _correlation, -1.0, correlates=True),
    "r2": Metric("R²", "R²", _equal, _r2, FAR),
    "mse": Metric("minus the mean squared error", "minus MSE", _equal, _mse, FAR),
    "sign_accuracy": Metric("share of correct signs", "correct signs", _signs, _sign_accuracy, -1.0),
}


BUILT_IN = frozenset(METRICS)
CODE: Registry[Callable[[Floats, Floats, Floats], Any]] = Registry("metric of a plugin")
"""Functions `metric(p, y, w)` of all scored rows: predictions, targets, weights (n, K) in float64 to scores (K,)."""


def declare_metric(name: str) -> None:
    """Make a plugin's metric known by its name, whether or not its source is run."""
    METRICS[name] = Metric(name, name, _of_size, _no_moments, FAR, whole=name)


def _no_moments(m: Moments) -> Any:
    raise TypeError("the metric of a plugin is no function of moments")


def metric_of(schema: Schema) -> Metric:
    """The metric that `schema` names. Raises `ConfigError` for a name that is none."""
    if schema.metric not in METRICS:
        raise ConfigError(
            f"the data is scored by the metric {schema.metric!r}, which neither lobtuna nor a plugin that is known "
            "here defines: name the file of its plugin with `plugin`, or load it with lobtuna.plugin",
            arguments=["plugin"],
        )
    return METRICS[schema.metric]


def whole_score(name: str, prediction: Floats, target: Floats) -> Floats:
    """Score per target (K,) by a plugin's metric, of all scored rows (n, K), clipped where the data says so. Rows whose
    target is NaN are left out; each weighs max(|y|, 1e-8), which the metric may use.

    Raises `ConfigError` where the plugin's source was not run in this process, `PluginError` for a result of another
    shape.
    """
    if name not in CODE.names:
        raise ConfigError(
            f"{name} is a metric of a plugin whose source was not run here: name its file with `plugin`, or load it "
            "with lobtuna.plugin",
            arguments=["plugin"],
        )
    there = ~np.isnan(target[:, 0])
    p, y, w = _of_size(prediction[there], target[there])
    found = np.asarray(CODE[name](p, y, w), dtype=np.float64)
    if found.shape != (y.shape[1],):
        raise PluginError(f"metric {name!r} returned shape {found.shape}, not ({y.shape[1]},): one number a target")
    return np.where(np.isfinite(p).all(0), found, np.nan)  # whatever the metric makes of them, the run diverged


def score(prediction: ArrayLike, target: ArrayLike, schema: Schema) -> NDArray[np.float64]:
    """Score per target (K,) over all rows pooled, in float64, of scored rows (..., K), as `schema` scores. Rows whose
    target is NaN lie behind the end of a shorter sequence and are left out."""
    y = np.asarray(target, dtype=np.float64)
    y = y.reshape(-1, y.shape[-1])
    p = np.asarray(prediction, dtype=np.float64).reshape(y.shape)
    metric = metric_of(schema)
    p = p if schema.clip is None else np.clip(p, -schema.clip, schema.clip)
    if metric.whole is not None:
        return whole_score(metric.whole, p, y)
    if schema.variable_length:
        there = ~np.isnan(y[:, 0])
        p, y = p[there], y[there]
    p, y, w = metric.rows(p, y)
    total = w.sum(0)
    safe = np.where(total > 0, total, 1.0)
    mean_p, mean_y = (w * p).sum(0) / safe, (w * y).sum(0) / safe
    p, y = p - mean_p, y - mean_y
    moments = Moments(total, mean_p, mean_y, (w * p * p).sum(0), (w * p * y).sum(0), (w * y * y).sum(0))
    return np.asarray(metric.value(moments))


def weighted_pearson(prediction: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """The challenge's score: weighted Pearson correlation per target over all rows pooled, in float64.

    `prediction` and `target` have shape (..., K) and hold scored rows only; the result has shape (K,). Weights are
    max(|y|, 1e-8), predictions are clipped to ±6, and a target or prediction without variance scores 0. Source: the
    challenge's rules.
    """
    return score(prediction, target, LOB)
