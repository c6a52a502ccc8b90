"""A submission as it will run at the challenge, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lobtuna.model import as_sequences
from lobtuna.shown import Shown
from lobtuna.table import Table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Submission(Shown):
    """The ensemble in a zip that `lobtuna export` wrote: `Submission("submission.zip").predict(x)`.

    Rows go through the runtime that the zip's own copy came from, one at a time, as they will be online. `backend` is
    `auto` (numba where it works), `numba` or `numpy`. Raises `BundleError` for a zip that lobtuna did not write.
    """

    def __init__(self, path: Path | str, backend: str = "auto") -> None:
        from lobmodels import features
        from lobmodels.ensemble.bundle import read_submission
        from lobmodels.ensemble.runtime import Ensemble

        self.read = read_submission(path)
        self.ensemble = Ensemble(self.read.manifest, self.read.arrays, features, backend)

    def predict(self, x: ArrayLike) -> NDArray[np.float64]:
        """Predictions (N, T, targets) for raw sequences (N, T, columns), or (T, targets) for one (T, columns).

        Every step is predicted, warm-up included. Raises `ValueError` for another shape.
        """
        raw, single = as_sequences(x)
        predicted = np.array([[self._row(i, t, row) for t, row in enumerate(rows)] for i, rows in enumerate(raw)])
        return predicted[0] if single else predicted

    def _row(self, sequence: int, step: int, row: NDArray[np.float32]) -> NDArray[np.float64]:
        prediction = self.ensemble.predict(sequence, step, True, row)
        assert prediction is not None  # one was asked for
        return prediction

    @property
    def members(self) -> list[dict[str, Any]]:
        """Each member as the manifest describes it: name, architecture, weight, origin."""
        return list(self.read.manifest["members"])

    @property
    def summary(self) -> str:
        """File, members and size."""
        count = "1 member" if len(self.members) == 1 else f"{len(self.members)} members"
        return f"{self.read.path}: {count}, {self.read.size / 1e6:.2f} MB, steps computed by {self.ensemble.backend}"

    def table(self) -> Table:
        """One line a member."""
        rows = [
            (m["name"], m["architecture"], m["hidden_size"], m["num_layers"], m["origin"]["seed"], *m["weight"])
            for m in self.members
        ]
        weights = tuple(f"weight_t{i}" for i in range(len(self.members[0]["weight"])))
        columns = ("run", "architecture", "hidden_size", "num_layers", "seed", *weights)
        return Table("members", columns, rows)
