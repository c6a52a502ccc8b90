"""What a study file says about splits: which sequences train, which select, and which only report."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictInt, model_validator

from lobmodels.data.partition import FOLDS, WALK_FORWARD, SplitRule
from search.studyfile.parameters import Model


class ValidationSpec(Model):
    """Which sequences train, which select epochs and runs, and which only report.

    Report sequences are set aside first. Without `folds` and `walk_forward`, train.parquet trains and the rest of
    valid.parquet selects. With one of them both are divided anew: the search trains on fold 0, and `lobtuna replicate
    --folds` trains the best configurations on the others.
    """

    report_fraction: Annotated[float, Field(strict=True, ge=0, lt=1)] = Field(
        default=0.25, description="share of the validation sequences that no run is trained on or chosen by"
    )
    folds: Annotated[StrictInt, Field(ge=2)] | None = Field(
        default=None, description="train and validation sequences together in so many folds; each fold selects once"
    )
    walk_forward: Annotated[StrictInt, Field(ge=2)] | None = Field(
        default=None,
        description="folds that select on what is later than all they train on, for files in the order of time: the "
        "later half of all sequences in so many blocks, fold 0 the last",
    )
    gap: Annotated[StrictInt, Field(ge=0)] | None = Field(
        default=None,
        description="for `walk_forward`: sequences that are left out between training and selection; 1 if not given",
    )

    @model_validator(mode="after")
    def _one_way_to_split(self) -> ValidationSpec:
        if self.folds is not None and self.walk_forward is not None:
            raise ValueError("'folds' and 'walk_forward' are two ways to split; give one of them")
        if self.gap is not None and self.walk_forward is None:
            raise ValueError("'gap' goes with walk_forward and only with it")
        return self

    @property
    def words(self) -> str:
        """What the selection sequences of the study's runs are."""
        if self.count is not None:
            kind = "folds" if self.folds else "walk-forward folds"
            return f"{self.count} {kind} of the train and validation sequences"
        return (
            f"{1 - self.report_fraction:.0%} of the validation sequences"
            if self.report_fraction
            else "all validation sequences"
        )

    @property
    def count(self) -> int | None:
        """Number of folds; None for the fixed split."""
        return self.folds or self.walk_forward

    def rule(self, fold: int | None = None) -> SplitRule:
        """How the sequences of a run on `fold` are divided; `fold` means nothing for the fixed split."""
        if self.folds is not None:
            return SplitRule(self.report_fraction, FOLDS, self.folds, fold or 0)
        if self.walk_forward is not None:
            gap = 1 if self.gap is None else self.gap
            return SplitRule(self.report_fraction, WALK_FORWARD, self.walk_forward, fold or 0, gap)
        return SplitRule(self.report_fraction)
