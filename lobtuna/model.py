"""Trained weights that predict: loaded from a study, or trained by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lobtuna.database import storage_url
from lobtuna.shown import Shown
from lobtuna.study import Run, Study
from lobtuna.table import Table, shown

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from plotly.graph_objects import Figure

    from lobmodels.checkpoint import Checkpoint
    from lobmodels.training.epochs import EpochRecord


class Model(Shown):
    """The best weights of one run. `checkpoint` holds all that is stored with them."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    @property
    def configuration(self) -> dict[str, Any]:
        """The values of every parameter that mean something in it."""
        return self.checkpoint.config.active()

    @property
    def scores(self) -> dict[str, dict[str, float] | None]:
        """The score of each target and their mean on the `select` and on the `report` sequences; None where none were
        set aside."""
        return self.checkpoint.scores

    def predict(self, x: ArrayLike, device: str = "cpu") -> NDArray[np.float32]:
        """Predictions (N, T, targets) for raw sequences (N, T, columns), or (T, targets) for one (T, columns).

        Every step is predicted, warm-up included. Raises `ValueError` for another shape.
        """
        raw, single = as_sequences(x)
        predicted = self.checkpoint.predict(raw, device)
        return predicted[0] if single else predicted

    @property
    def history(self) -> Table:
        """One line an epoch: loss, scores on the selection sequences, learning rate, seconds."""
        records = self.checkpoint.history
        columns = tuple(dict.fromkeys(name for record in records for name in record))
        return Table("history", columns, [tuple(record.get(name) for name in columns) for record in records])

    def plot_curves(self) -> Figure:
        """Score of each target and their mean over epochs."""
        from plotly.graph_objects import Figure

        from search.report.style import SERIES, axis, figure, line

        history = self.checkpoint.history
        epochs = [record["epoch"] for record in history]
        names = [name for name in (*self.checkpoint.schema.targets, "mean") if history and name in history[0]]
        colors = itertools.cycle(SERIES)
        traces = [line(epochs, [r[name] for r in history], name, next(colors)) for name in names]
        return Figure(figure(traces, x=axis("epoch (from 0)"), y=axis("score on the selection sequences")))

    @property
    def summary(self) -> str:
        """Name, score and best epoch, or the epochs that it keeps."""
        found = self.checkpoint
        kept = ", ".join(str(epoch.epoch + 1) for epoch in found.epochs)
        epochs = f"mean of epochs {kept}" if kept else f"best epoch {found.best_epoch + 1}"
        return f"{found.name}: {shown(found.score)} on the selection sequences, {epochs}"

    def table(self) -> Table:
        """The history."""
        return self.history


def load(run: Run | str, storage: str | None = None) -> Model:
    """The stored weights of a run: of a `Run`, or of its name, such as `"joint#3"`, in the database `storage`.

    Raises `SearchError` where there is no such run, its weights were not kept, or it needs a plugin
    that was not loaded, `ArtifactError` where they are damaged.
    """
    from search.study.open import open_study
    from search.study.plugins import require_code
    from search.study.runs import load_checkpoint

    if isinstance(run, str):
        run = Study(storage_url(storage), run.partition("#")[0]).run(run)
    study = open_study(run.url, run.stored.study)
    require_code(study)
    return Model(load_checkpoint(study, run.stored))


def train(
    configuration: Mapping[str, Any],
    data: Path | str,
    seed: int = 0,
    *,
    device: str | None = None,
    report_fraction: float = 0.25,
    on_epoch: Callable[[EpochRecord], None] = lambda _: None,
) -> Model:
    """Train one configuration by hand on the data in folder `data`, and keep the weights of its best epoch.

    `configuration` names parameters as a study file does; the others have their defaults (`docs/study-file.md`).
    `on_epoch` is called after each epoch. Raises `ConfigError`, `DataError`, `TrainingError` or `DeviceError`.
    """
    from lobmodels.config import RunConfig
    from lobmodels.data import load_dataset
    from lobmodels.training.alone import train as run

    dataset = load_dataset(Path(data))
    config = RunConfig.parse(configuration)
    return Model(run(config, dataset, seed, device=device, report_fraction=report_fraction, on_epoch=on_epoch))


def as_sequences(x: ArrayLike) -> tuple[NDArray[np.float32], bool]:
    """Raw rows as (N, T, columns) float32, and whether it was one sequence. Raises `ValueError` for another shape."""
    raw = np.asarray(x, np.float32)
    if raw.ndim not in (2, 3):
        raise ValueError(f"x has shape {raw.shape}; it must be (sequences, steps, columns) or (steps, columns)")
    return (raw[None], True) if raw.ndim == 2 else (raw, False)
