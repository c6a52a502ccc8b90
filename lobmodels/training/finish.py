"""A run at its end: what the device computed of it, and the checkpoint that the host makes of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.networks.mixture import KeptEpoch
from lobmodels.training.batches import RunData
from lobmodels.training.diagnostics import shift_buckets
from lobmodels.training.measures import prediction_std, sequence_sums
from lobmodels.training.outputs import Outputs


@dataclass(frozen=True)
class Finished:
    """A run that is over, in host memory: its kept epochs, and what they predict of the data.

    `checkpoint` takes seconds of the host on large data and none of the device: a worker lets it wait for no other run.
    """

    config: RunConfig
    seed: int
    data: RunData
    history: list[dict[str, Any]]
    best_epoch: int
    kept: list[KeptEpoch]
    scores: dict[str, dict[str, float] | None]
    outputs: dict[str, Outputs]  # of `select` and `report`, where there are such sequences
    train: Outputs  # of the train sequences that `measures.spread_index` names

    def checkpoint(self, name: str = "") -> Checkpoint:
        """All that is known of the run."""
        data, kept = self.data, self.kept
        schema = data.dataset.schema
        sums = {part: sequence_sums(found, schema) for part, found in self.outputs.items()}
        buckets = shift_buckets(self.outputs["select"], data) if "select" in self.outputs else []
        return Checkpoint(
            name=name,
            config=self.config,
            seed=self.seed,
            pipeline=data.pipeline,
            weights=kept[0].weights if len(kept) == 1 else {},
            epochs=tuple(kept) if len(kept) > 1 else (),
            history=self.history,
            best_epoch=self.best_epoch,
            scores=self.scores,
            data_fingerprint=data.fingerprint,
            report_fraction=data.report_fraction,
            split=data.rule.document(),
            valid_fingerprint=data.dataset.valid.fingerprint,
            prediction_std=prediction_std(self.train),
            sequence_sums={part: found for part, found in sums.items() if found is not None},
            diagnostics={"shift_buckets": buckets},
        )
