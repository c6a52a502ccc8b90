"""The terms of a study beside its space: sampler, pruner, budget, second look, checkpoints, source."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, StrictInt, model_validator

from search.studyfile.parameters import Model


def _text_moment(value: Any) -> Any:
    if isinstance(value, (str, datetime)):
        return value
    raise ValueError("a moment is written like 2026-03-01 18:00+00:00")


Count = Annotated[StrictInt, Field(ge=1)]
Natural = Annotated[StrictInt, Field(ge=0)]
Moment = Annotated[AwareDatetime, BeforeValidator(_text_moment)]


class SamplerSpec(Model):
    """How the next configuration is chosen."""

    name: Literal["tpe", "random", "gp"] = Field(
        default="tpe",
        description="`tpe` learns from finished, pruned and diverged trials, `gp` from finished ones and only the "
        "parameters that every trial has; `random` does not learn",
    )
    startup_trials: Count = Field(default=10, description="trials drawn at random before the sampler starts to learn")


# What a pruner gets where the file does not say: those that are not named here get the fields' own defaults.
OWN_DEFAULTS = {"halving": {"warmup_epochs": 0, "patience": 0}, "curve": {"warmup_epochs": 2, "patience": 0}}


class PrunerSpec(Model):
    """When a run that goes badly is ended early. `docs/search-proof.md` compares the choices."""

    name: Literal["halving", "curve", "median", "percentile", "none"] = Field(
        default="median",
        description="`halving` lets the best quarter of the runs pass 1, 4, 16, ... epochs; `curve` forecasts a run's "
        "best score from its curve and parameters, and ends it where a new run promises more; `median` and "
        "`percentile` end a run whose best epoch is worse than that of the better half, or `percentile`, of the "
        "finished runs",
    )
    warmup_epochs: Natural = Field(
        default=10,
        description="epochs that every run is given before it is judged first; if not given 2 for "
        "`curve` and 0 for `halving`",
    )
    startup_trials: Count = Field(
        default=8, description="finished runs before anything is pruned; `halving` needs none"
    )
    patience: Natural = Field(
        default=2,
        description="for `median` and `percentile`: a run may be pruned only after this many further epochs without a "
        "better score; 0: at once",
    )
    percentile: Annotated[float, Field(strict=True, gt=0, lt=100)] | None = Field(
        default=None, description="for `percentile`: the best so many percent of the finished runs go on"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_name(cls, document: Any) -> Any:
        if not isinstance(document, dict) or not isinstance(document.get("name"), str):
            return document
        return {**OWN_DEFAULTS.get(document["name"], {}), **document}

    @model_validator(mode="after")
    def _terms_belong_to_the_name(self) -> "PrunerSpec":
        if self.name == "percentile" and self.percentile is None:
            raise ValueError(
                "name: percentile needs a number: 'percentile: 25' lets the best quarter of the runs go on"
            )
        if self.name != "percentile" and self.percentile is not None:
            raise ValueError(f"'percentile' goes with name: percentile, not with {self.name!r}")
        if self.patience and self.name in ("curve", "halving"):
            raise ValueError(f"'patience' goes with name: median or percentile, not with {self.name!r}")
        return self


class StalledSpec(Model):
    """When a study that no longer gets better ends: after so many trials, or hours of work, without a better score."""

    trials: Count | None = Field(default=None, description="ended trials since the last better one")
    hours: Annotated[float, Field(strict=True, gt=0)] | None = Field(
        default=None, description="hours of work since then, summed over all workers"
    )
    gain: Annotated[float, Field(strict=True, ge=0)] = Field(
        default=0.002,
        description="by how much a score must be higher to count as better: about half of what a seed changes",
    )

    @model_validator(mode="after")
    def _has_a_limit(self) -> "StalledSpec":
        if self.trials is None and self.hours is None:
            raise ValueError("'stalled' needs trials or hours: stalled: {trials: 50}")
        return self


class BudgetSpec(Model):
    """When the whole study ends, over all its workers: at whichever of these comes first."""

    trials: Count | None = Field(default=None, description="finished trials, pruned and failed ones included")
    hours: Annotated[float, Field(strict=True, gt=0)] | None = Field(
        default=None, description="hours of work, summed over all workers"
    )
    until: Moment | None = Field(default=None, description="a moment with its time zone: `2026-03-01 18:00+00:00`")
    stalled: StalledSpec | None = Field(
        default=None,
        description="trials or hours without a better score, as in `{trials: 50}` or `{hours: 3, gain: 0.001}`",
    )


class SecondLookSpec(Model):
    """Pruned runs that are taken up again where they stopped, when most of the budget is spent.

    Off by default: in the simulation of `docs/search-proof.md` the ensemble gained nothing from it, with either pruner.
    """

    share: Annotated[float, Field(strict=True, ge=0, le=0.5)] = Field(
        default=0.0, description="the last part of the budget's trials or hours, in which this happens; 0: never"
    )
    megabytes: Annotated[float, Field(strict=True, gt=0)] = Field(
        default=200.0, description="room for the states of pruned runs; the most promising ones are kept"
    )


class CheckpointSpec(Model):
    """How many checkpoints stay in the database."""

    keep: Count = Field(default=50, description="best runs of the study whose weights are kept")


class FromSpec(Model):
    """Another study whose best configurations are run first, each with the parameters that fit.

    They are trained again: scores of other data or another split cannot be compared. Parameters that do not fit are
    left to the sampler. The study keeps the URL without its password.
    """

    study: str = Field(description="name of the study")
    url: str | None = Field(default=None, description="its database; if not given, this study's own")
    top: Count = Field(default=10, description="configurations that are taken, the best first")
